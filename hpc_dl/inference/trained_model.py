"""The model of a run, as it was at its best: to evaluate it, or to predict with it."""

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
from hpc_dl.runs.checkpoints import Checkpoint, listed, problem_of
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.preflight import build_model

_DATA_STATE = HDF5DataModule.__qualname__  # Lightning's key for it


@dataclass(frozen=True)
class FinishedModel:
    """A run's model with its best weights.

    Attributes:
        run: the run.
        experiment: its configuration.
        data: the data it was trained on.
        model: on the CPU, in evaluation mode.
        batches: the data in batches, scaled as in the training.
        checkpoint: where the weights are from.
    """

    run: RunFolder
    experiment: Experiment
    data: DataSpec
    model: pl.LightningModule
    batches: HDF5DataModule
    checkpoint: Checkpoint

    @classmethod
    def load(cls, run: RunFolder) -> FinishedModel:
        """Read the best weights so far; the run may be at work still.

        Raises:
            RunError: it has none yet, or they are damaged.
            HpcDlError: the data are gone.
        """
        best = listed(run.checkpoints, "best")
        if not best:
            raise RunError.at(run.name, "has no weights yet", remedy="wait for its first validation: `hpc-dl status`")
        if problem := problem_of(best[-1]):
            raise RunError.at(best[-1].path, f"is damaged: {problem}", remedy="put it back from a copy")
        experiment = Experiment.from_dict(yaml.load(run.config))
        fresh = replace(experiment, model=experiment.model.model_copy(update={"freeze": []}))
        data = open_spec(experiment.data)
        model = build_model(fresh, data).eval()
        # Our own file, from the run's own folder: a user's module may keep more in it than plain
        # values.
        content = torch.load(best[-1].path, weights_only=False, mmap=True, map_location="cpu")
        model.load_state_dict(content["state_dict"])
        batches = HDF5DataModule.from_config(experiment.data, data, seed=experiment.seed)
        if _DATA_STATE in content:
            batches.load_state_dict(content[_DATA_STATE])
        return cls(run, experiment, data, model, batches, best[-1])


def device() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
