"""What the figures of a run are drawn from: its journal, its model and its data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hpc_dl.data.spec import PER_POSITION, SPLITS, DataSpec
from hpc_dl.runs import checkpoints
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal

if TYPE_CHECKING:
    import pytorch_lightning as pl
    import torch

    from hpc_dl.data.datamodule import HDF5DataModule
    from hpc_dl.figures.frames import Frames
    from hpc_dl.figures.observations import Examples, Observations
    from hpc_dl.learning.supervised import Supervised

#: Losses whose outputs are scores, not logits of probabilities.
_SCORES = ("perceptron", "hinge")
_SPLIT_NAMES = {"val": "validation", "test": "test", "train": "training"}


@dataclass(frozen=True)
class Subject:
    """A run whose figures are drawn. Imports no torch where only the journal is read.

    Attributes:
        run: its folder.
        data: its data; ``None`` where nothing is known of them.
        model: with the weights to show, in evaluation mode; ``None`` for the journal alone.
        batches: the data in batches, preprocessed as in the training; ``None`` without a model, or
            where the module has its own loaders.
        seconds: for how long the validation data may be read, after the first batch.
    """

    run: RunFolder
    data: DataSpec | None = None
    model: pl.LightningModule | None = None
    batches: HDF5DataModule | None = None
    seconds: float = 30.0

    @cached_property
    def journal(self) -> list[dict[str, Any]]:
        """The rows of the journal, by step."""
        return read_journal(self.run.journal)

    @cached_property
    def frames(self) -> Mapping[str, Frames]:
        """What the training has recorded over time, by kind."""
        from hpc_dl.figures.frames import read_frames

        return read_frames(self.run.frames)

    def no_frames(self, kind: str) -> str:
        """Why the run has no frames of this kind; empty if it has several."""
        several = kind in self.frames and len(self.frames[kind].epochs) > 1
        return "" if several else f"needs frames of {kind} that the training has recorded"

    @property
    def best_step(self) -> int | None:
        """The step of the best weights."""
        best = checkpoints.listed(self.run.checkpoints, "best")
        return best[-1].step if best else None

    @property
    def split(self) -> str:
        """The split that figures show: validation, else test, else training."""
        sizes = self.spec.sizes
        return next(split for split in ("val", "test", *SPLITS) if sizes.get(split))

    @property
    def split_name(self) -> str:
        """The split, as titles call it."""
        return _SPLIT_NAMES[self.split]

    @property
    def spec(self) -> DataSpec:
        """The data, where they are known."""
        assert self.data is not None, "unfit() refuses runs without data"
        return self.data

    @property
    def network(self) -> Supervised:
        """The model, where it computes outputs from inputs."""
        from hpc_dl.learning.supervised import Supervised

        assert isinstance(self.model, Supervised), "unfit() refuses other models"
        return self.model

    @property
    def class_names(self) -> Sequence[str]:
        """The names of the classes."""
        return self.spec.class_names

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.network.parameters()).device
        return device

    @cached_property
    def observations(self) -> Observations:
        """Outputs and targets of the split, of up to a few thousand samples; one pass for all."""
        from hpc_dl.figures.observations import observe

        return observe(self)

    def examples(self, count: int) -> Examples:
        """The inputs and targets of some samples of the split, evenly spread."""
        from hpc_dl.figures.observations import examples

        return examples(self, count)

    def no_outputs(self, *tasks: str) -> str:
        """Why the model has no outputs for one of these tasks; empty if it has."""
        from hpc_dl.learning.supervised import Supervised

        if self.batches is None or self.data is None:
            return "needs data whose single samples hpc_dl can read"
        if not isinstance(self.model, Supervised) or self.data.task == "sequence_to_sequence":
            return "needs a model that computes outputs from inputs alone"
        if tasks and self.data.task not in tasks:
            return f"applies to the tasks {', '.join(tasks)}, not to {self.data.task}"
        return ""

    def no_loss(self) -> str:
        """Why the model has no loss whose gradient can be computed; empty if it has."""
        from hpc_dl.learning.supervised import Supervised

        if self.batches is None or not isinstance(self.model, Supervised):
            return "needs a model with one loss"
        trained = any(weight.requires_grad and weight.ndim > 1 for weight in self.model.parameters())
        return "" if trained else "needs weights that are trained"

    def no_classes(self, most: int = 1000) -> str:
        """Why the model does not assign one class to each sample or position; empty if it does."""
        if reason := self.no_outputs("classification", *PER_POSITION):
            return reason
        count = self.spec.num_outputs
        return f"applies to at most {most} classes, not to {count}" if count > most else ""

    def no_probabilities(self, most: int = 1000) -> str:
        """Why the model's outputs are not logits of classes; empty if they are."""
        if reason := self.no_classes(most):
            return reason
        loss = self.network.recipe.task.config.name
        return f"needs probabilities, which the loss {loss} does not produce" if loss in _SCORES else ""
