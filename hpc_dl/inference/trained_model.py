"""A run's model with its best weights, for evaluation, prediction and export."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import HpcDlError, RunError
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.learning.abilities import COMMANDS, Ability, WritesSequences
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.models.base import ModelSection
from hpc_dl.models.construction import import_object, importing_from
from hpc_dl.models.custom import CustomModelConfig
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.import_folders import import_folders
from hpc_dl.training.batches import Batches, batches_of
from hpc_dl.training.model_building import build_model, restores_itself
from hpc_dl.training.train import has_test

_DATA_MODULE_KEY = HDF5DataModule.__qualname__  # in Lightning's checkpoints
# What arrays and numbers of NumPy consist of in a pickle.
_NUMPY = re.compile(r"numpy\.(ndarray|dtype|(_core|core)\.multiarray\.(_reconstruct|scalar))")
_NUMPY_TYPES = [kind for kind in vars(np.dtypes).values() if isinstance(kind, type)]


@dataclass(frozen=True)
class TrainedModel:
    """A run's model with its best weights.

    Attributes:
        run: the run.
        experiment: its configuration.
        data: the data it was trained on.
        model: on the CPU, in evaluation mode. A user's LightningModule that takes part in its own
            restoring (``setup``, ``configure_model``, ``on_load_checkpoint``) gets its weights when
            Lightning runs it.
        batches: the data in batches, preprocessed as in the training.
        checkpoint: the file that the weights come from.
    """

    run: RunFolder
    experiment: Experiment
    data: DataSpec
    model: pl.LightningModule
    batches: Batches
    checkpoint: Checkpoint

    @classmethod
    def load(cls, trained: TrainedRun) -> TrainedModel:
        """Load the model of a run.

        Raises:
            HpcDlError: its configuration is of another version.
        """
        run, best, data = trained.run, trained.checkpoint, trained.data
        experiment = Experiment.from_dict(yaml.load(run.config))
        with _importing_own_code(run, experiment):
            return cls._load(run, experiment, data, best)

    @classmethod
    def _load(cls, run: RunFolder, experiment: Experiment, data: DataSpec, best: Checkpoint) -> TrainedModel:
        content = _weights(best.path, experiment.model)
        data_state = content.get(_DATA_MODULE_KEY)
        if isinstance(data_state, dict) and (classes := data_state.get("classes")):  # the labels that it learned
            section = experiment.data.model_copy(update={"classes": classes})
            experiment = replace(experiment, data=section)
            data = open_spec(experiment.data)
        unfrozen = replace(experiment, model=experiment.model.model_copy(update={"freeze": []}))
        model = build_model(unfrozen, data).eval()
        batches = batches_of(experiment, data, model)
        try:
            if not restores_itself(model):
                model.load_state_dict(content["state_dict"])
            if _DATA_MODULE_KEY in content:
                batches.load_state_dict(content[_DATA_MODULE_KEY])
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            problem = " ".join(str(error).split())
            raise RunError.at(best.path, f"does not fit the model of {run.config}: {problem}") from None
        return cls(run, experiment, data, model, batches, best)

    def allowing_own_objects(self) -> AbstractContextManager[None]:
        """Return a context in which the checkpoint is read, also by Lightning."""
        return _allowing_own_objects(self.checkpoint.path, self.experiment.model)

    def network(self) -> Supervised:
        """Return the model, which computes outputs from inputs alone, or writes sequences.

        Raises:
            RunError: it needs more than inputs: a user's module, a GAN.
        """
        without_targets = self.data.task != "sequence_to_sequence" or isinstance(self.model, WritesSequences)
        if not isinstance(self.model, Supervised) or not without_targets:
            raise RunError.at(
                self.run.name,
                f"{type(self.model).__name__} cannot compute outputs from inputs alone",
                remedy=self._what_applies()
                if isinstance(self.model, TrainingModule)
                else "train its network with `model: {network: …}`; for `hpc-dl predict`, define predict_step",
            )
        return self.model

    def ability_for(self, command: str) -> Ability:
        """Return the ability of the model that a command uses.

        Raises:
            RunError: it has none; the message names the commands that apply.
        """
        for ability in self._abilities:
            if command in COMMANDS[ability]:
                return ability
        raise RunError.at(
            self.run.name,
            f"`{command}` does not apply to {self.experiment.model.title} with the task {self.data.task}",
            remedy=self._what_applies(),
        )

    def can(self, ability: Ability) -> bool:
        """Whether the model has an ability."""
        return ability in self._abilities

    @property
    def _abilities(self) -> tuple[Ability, ...]:
        return self.model.abilities if isinstance(self.model, TrainingModule) else ()

    def _what_applies(self) -> str:
        commands = ["evaluate"] if has_test(self.model) else []
        commands += [command for ability in self._abilities for command in COMMANDS[ability]]
        return f"commands for this model: {', '.join(commands)}" if commands else ""


def _importing_own_code(run: RunFolder, experiment: Experiment) -> AbstractContextManager[None]:
    """Return a context in which Python finds a user's own code, from any folder.

    In the folder where the run was prepared the current code counts: a ``predict_step`` may have
    been added. Elsewhere it is the code that was trained, not another module of the same name.
    """
    first, last = import_folders(run, experiment)
    if last is None or Path(last).samefile(Path.cwd()):
        return nullcontext()
    return importing_from(first, last)


def _weights(path: Path, model: ModelSection) -> dict[str, Any]:
    """Read a checkpoint of weights, plain values and objects of the user's own module.

    Any other object is refused, because loading it would run the code that it names. The code of
    the user's module runs anyway.
    """
    try:
        with _allowing_own_objects(path, model):
            content = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except HpcDlError:
        raise
    except Exception as error:  # which one depends on where the file is wrong
        named = re.search(r"GLOBAL (\S+)", str(error))
        cause = re.search(r"WeightsUnpickler error:\s*([^\n]+)", str(error))
        problem = f"it contains {named[1]}" if named else cause[1] if cause else str(error).partition("\n")[0]
        raise RunError.at(
            path,
            f"cannot be read as weights: {problem}",
            remedy="only checkpoints of tensors and plain values are loaded, because others can run code",
        ) from None
    if not isinstance(content, dict):
        raise RunError.at(path, "is not a checkpoint", value=type(content).__name__)
    return content


def _allowing_own_objects(path: Path, model: ModelSection) -> AbstractContextManager[None]:
    """Allow ``torch.load(weights_only=True)`` the user's own classes, and NumPy's arrays."""
    package = model.class_path.partition(".")[0] if isinstance(model, CustomModelConfig) else None
    objects: list[Any] = []
    for name in torch.serialization.get_unsafe_globals_in_checkpoint(path):
        if _NUMPY.fullmatch(name):
            objects += [(import_object(name, str(path)), name), *_NUMPY_TYPES]
        elif name.partition(".")[0] == package:
            value = import_object(name, str(path))
            # Not `package.subprocess.Popen`, which the package only imports.
            if isinstance(value, type) and value.__module__.partition(".")[0] == package:
                objects.append((value, name))
    context: AbstractContextManager[None] = torch.serialization.safe_globals(objects)
    return context


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
