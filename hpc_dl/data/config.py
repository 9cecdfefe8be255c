"""The ``data`` section of an experiment: which file, how it is split, how it is batched."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hpc_dl.schema import Section, Unit

# What a file of the user's own may need to have told, and a shipped source never does.
_FILE_ONLY = ("inputs", "targets", "splits", "channels")

Fraction = Annotated[float, Field(ge=0, le=1)]


class SplitFractions(Section):
    """Split one undivided dataset at random (seeded) by these shares."""

    train: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the samples to train on."""
    val: Fraction = 0.1
    """Share to validate on after each epoch."""
    test: Fraction = 0.1
    """Share to test on at the end."""
    seed: int = 0
    """Seed of the random split; kept apart from the experiment's so that all seeds share one split."""

    @model_validator(mode="after")
    def _sum(self) -> SplitFractions:
        if self.train + self.val + self.test > 1 + 1e-9:
            raise ValueError(
                f"the fractions add up to {self.train + self.val + self.test:g}, more than 1; lower one of them"
            )
        return self


class SplitIndices(Section):
    """Split by datasets of the file that hold row numbers (or a boolean mask) for each split."""

    train: str
    """Path of the dataset with the training rows, for example ``/split/train``."""
    val: str | None = None
    """Path of the dataset with the validation rows."""
    test: str | None = None
    """Path of the dataset with the test rows."""


class SplitGroups(Section):
    """Split by groups: ``inputs`` and ``targets`` are then paths inside each of these groups."""

    train: str = "train"
    """Group that holds the training samples."""
    val: str | None = "val"
    """Group that holds the validation samples."""
    test: str | None = "test"
    """Group that holds the test samples."""


class Splits(Section):
    """How a file is divided; exactly one way is used, groups (this project's own format) by default."""

    fractions: SplitFractions | None = None
    """Random split of one dataset by shares."""
    indices: SplitIndices | None = None
    """Datasets in the file that list the rows of each split."""
    groups: SplitGroups | None = None
    """Groups in the file that hold the splits."""

    @model_validator(mode="after")
    def _one_way(self) -> Splits:
        given = [name for name in ("fractions", "indices", "groups") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} exclude each other; keep one of them")
        return self


class DataConfig(Section):
    """Which samples to learn from, and in batches of how many."""

    source: str | None = None
    """Name of a shipped data source (``hpc-dl data list``); it is made once, then read from the data folder."""
    file: str | None = None
    """Path of an HDF5 file; in place of ``source``. A relative path is taken from the current folder."""
    inputs: str = "inputs"
    """Path of the dataset with the inputs (inside each split's group where the split is by groups)."""
    targets: str = "targets"
    """Path of the dataset with the targets, likewise."""
    splits: Splits = Splits()
    """How the file is divided into train, val and test."""
    task: Literal["auto", "classification", "regression"] = "auto"
    """What the targets are for; ``auto`` takes the file's attribute ``task``, else classification for integer targets
    and regression for others. Whole numbers that are not classes (an age, a count) need ``regression``."""
    channels: Literal["auto", "first", "last", "none"] = "auto"
    """Axis of the channels in the stored inputs: ``first`` (N, C, …), ``last`` (N, …, C), or ``none``, where a channel
    is added. ``auto`` is ``first``, except that (N, H, W) in a file not written by hpc_dl means images without one."""
    batch_size: Annotated[int | None, Field(ge=1), Unit("samples per device")] = None
    """Samples in a batch on each device; 64 when neither this nor ``global_batch_size`` is given."""
    global_batch_size: Annotated[int | None, Field(ge=1), Unit("samples over all devices")] = None
    """Samples in a batch over all devices together; in place of ``batch_size``."""
    num_workers: Annotated[int, Field(ge=0), Unit("processes per device")] = 0
    """Loader worker processes; 0 reads in the training process, which is fastest for most HDF5 files."""
    scaling: Literal["auto", "none", "unit", "standardize"] = "auto"
    """Scaling of the inputs: ``unit`` to [0, 1] by the range of the training split (of all its values for integers, of
    each channel for others), ``standardize`` to mean 0 and standard deviation 1 per channel on the training split;
    ``auto`` is ``unit`` for integer inputs, else ``standardize``."""

    @model_validator(mode="after")
    def _one_of(self) -> DataConfig:
        if (self.source is None) == (self.file is None):
            raise ValueError("give exactly one of `source` (a name from `hpc-dl data list`) and `file` (a path)")
        if self.batch_size is not None and self.global_batch_size is not None:
            raise ValueError("`batch_size` and `global_batch_size` exclude each other; keep one of them")
        if self.source is not None:
            own = [name for name in _FILE_ONLY if getattr(self, name) != type(self).model_fields[name].default]
            if own:
                names = ", ".join(f"`{name}`" for name in own)
                raise ValueError(
                    f"{names}: only for files of your own; a shipped source knows its layout, leave it out"
                )
        return self
