"""A run's model with its best weights, for evaluation, prediction and export."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytorch_lightning as pl
import torch

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import RunError
from hpc_dl.learning.supervised import Supervised
from hpc_dl.runs.checkpoints import Checkpoint, listed, problem_of
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.model_building import build_model

_DATA_MODULE_KEY = HDF5DataModule.__qualname__  # in Lightning's checkpoints


@dataclass(frozen=True)
class TrainedModel:
    """A run's model with its best weights.

    Attributes:
        run: the run.
        experiment: its configuration.
        data: the data it was trained on.
        model: on the CPU, in evaluation mode.
        batches: the data in batches, preprocessed as in the training.
        checkpoint: the file that the weights come from.
    """

    run: RunFolder
    experiment: Experiment
    data: DataSpec
    model: pl.LightningModule
    batches: HDF5DataModule
    checkpoint: Checkpoint

    @classmethod
    def load(cls, run: RunFolder) -> TrainedModel:
        """Load the best weights so far; the run may still be training.

        Raises:
            RunError: it has no weights yet, or they are damaged.
            HpcDlError: the data file is missing or has changed.
        """
        best = listed(run.checkpoints, "best")
        if not best:
            raise RunError.at(
                run.name, "has no weights yet", remedy="wait for its first validation (see `hpc-dl status`)"
            )
        if problem := problem_of(best[-1]):
            raise RunError.at(best[-1].path, f"is damaged: {problem}", remedy="restore it from a copy")
        experiment = Experiment.from_dict(yaml.load(run.config))
        unfrozen = replace(experiment, model=experiment.model.model_copy(update={"freeze": []}))
        data = open_spec(experiment.data)
        if not data.file:
            raise RunError.at(
                run.name,
                "was trained on the module's own loaders, of which hpc_dl cannot read single splits or samples",
                remedy="see `hpc-dl results` for its test, or load its checkpoint with load_from_checkpoint",
            )
        model = build_model(unfrozen, data).eval()
        # The file is trusted, since it comes from the run's own folder. A user's module may keep
        # more than plain values in it, which `weights_only=True` would refuse.
        content = torch.load(best[-1].path, weights_only=False, mmap=True, map_location="cpu")
        model.load_state_dict(content["state_dict"])
        batches = HDF5DataModule.from_config(experiment.data, data, seed=experiment.seed)
        if _DATA_MODULE_KEY in content:
            batches.load_state_dict(content[_DATA_MODULE_KEY])
        return cls(run, experiment, data, model, batches, best[-1])

    def network(self) -> Supervised:
        """Return the model, which computes outputs from inputs alone.

        Raises:
            RunError: it needs more than inputs: a user's module, a GAN, a sequence-to-sequence
                model.
        """
        if not isinstance(self.model, Supervised) or self.data.task == "sequence_to_sequence":
            raise RunError.at(self.run.name, f"{type(self.model).__name__} cannot compute outputs from inputs alone")
        return self.model


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
