"""A run's model with its best weights, for evaluation, prediction and export."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import RunError
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.runs.checkpoints import Checkpoint
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
    def load(cls, trained: TrainedRun) -> TrainedModel:
        """Load the model of a run.

        Raises:
            HpcDlError: its configuration is of another version.
        """
        run, best, data = trained.run, trained.checkpoint, trained.data
        experiment = Experiment.from_dict(yaml.load(run.config))
        content = _weights(best.path)
        data_state = content.get(_DATA_MODULE_KEY)
        if isinstance(data_state, dict) and (classes := data_state.get("classes")):  # the labels that it learned
            section = experiment.data.model_copy(update={"classes": classes})
            experiment = replace(experiment, data=section)
            data = open_spec(experiment.data)
        unfrozen = replace(experiment, model=experiment.model.model_copy(update={"freeze": []}))
        model = build_model(unfrozen, data).eval()
        batches = HDF5DataModule.from_config(experiment.data, data, seed=experiment.seed)
        try:
            model.load_state_dict(content["state_dict"])
            if _DATA_MODULE_KEY in content:
                batches.load_state_dict(content[_DATA_MODULE_KEY])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            problem = " ".join(str(error).split())
            raise RunError.at(best.path, f"does not fit the model of {run.config}: {problem}") from None
        return cls(run, experiment, data, model, batches, best)

    def network(self) -> Supervised:
        """Return the model, which computes outputs from inputs alone.

        Raises:
            RunError: it needs more than inputs: a user's module, a GAN, a sequence-to-sequence
                model.
        """
        if not isinstance(self.model, Supervised) or self.data.task == "sequence_to_sequence":
            raise RunError.at(
                self.run.name,
                f"{type(self.model).__name__} cannot compute outputs from inputs alone",
                remedy=""
                if isinstance(self.model, TrainingModule)
                else "train its network with `model: {network: …}`, or load the checkpoint in a script of your own",
            )
        return self.model


def _weights(path: Path) -> dict[str, Any]:
    """Read a checkpoint of weights and plain values; any other object in it is refused.

    Loading arbitrary objects would run the code that they name.
    """
    try:
        content = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except Exception as error:  # which one depends on where the file is wrong
        named = re.search(r"GLOBAL (\S+)", str(error))
        problem = f"it contains {named[1]}" if named else str(error).partition("\n")[0]
        raise RunError.at(
            path,
            f"cannot be read as weights: {problem}",
            remedy="only checkpoints of tensors and plain values are loaded, because others can run code",
        ) from None
    if not isinstance(content, dict):
        raise RunError.at(path, "is not a checkpoint", value=type(content).__name__)
    return content


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
