"""The ``data.splits`` section: how a file is divided into train, val and test."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from hpc_dl.schema import Section

Fraction = Annotated[float, Field(ge=0, le=1)]


class SplitFractions(Section):
    """A random split of one undivided dataset by fractions."""

    train: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Fraction of the samples to train on."""
    val: Fraction = 0.1
    """Fraction of the samples to validate on after each epoch; 0 for no validation split."""
    test: Fraction = 0.1
    """Fraction of the samples to test on at the end; 0 for no test split."""
    seed: int = 0
    """Seed of the random split. It is separate from the experiment's seed, so runs with different
    seeds share one split.
    """

    @model_validator(mode="after")
    def _check_total(self) -> SplitFractions:
        if (total := self.train + self.val + self.test) > 1 + 1e-9:
            raise ValueError(f"the fractions add up to {total:g}, which is more than 1; lower one of them")
        return self


class SplitIndices(Section):
    """A split by datasets that hold the row numbers (or a boolean mask) of each split."""

    train: str
    """Path of the dataset with the training rows, for example ``/split/train``."""
    val: str | None = None
    """Path of the dataset with the validation rows; null for no validation split."""
    test: str | None = None
    """Path of the dataset with the test rows; null for no test split."""


class SplitGroups(Section):
    """A split by HDF5 groups: ``inputs`` and ``targets`` are then paths inside each group."""

    train: str = "train"
    """Group with the training samples."""
    val: str | None = "val"
    """Group with the validation samples; null for no validation split."""
    test: str | None = "test"
    """Group with the test samples; null for no test split."""


class SplitNodes(Section):
    """A split of the nodes of one graph: every split has the whole graph, but only its own labels.

    Such a training is called transductive. The datasets hold the only graph of the file, without
    ``NAME_offsets``.
    """

    train: str = "train_mask"
    """Path of the dataset with the training nodes: a boolean mask, or the numbers of the nodes."""
    val: str | None = "val_mask"
    """Path of the dataset with the validation nodes; null for no validation split."""
    test: str | None = "test_mask"
    """Path of the dataset with the test nodes; null for no test split."""


class Splits(Section):
    """How a file is divided into splits; set at most one key.

    By default the file has one group per split, as in hpc_dl's own format.
    """

    fractions: SplitFractions | None = None
    """Split one dataset at random by fractions."""
    indices: SplitIndices | None = None
    """Split by datasets in the file that list the rows of each split."""
    groups: SplitGroups | None = None
    """Split by the groups of the file."""
    nodes: SplitNodes | None = None
    """Split the nodes of one graph by masks, for ``node_classification``."""

    @model_validator(mode="after")
    def _check_single_method(self) -> Splits:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep only one")
        return self
