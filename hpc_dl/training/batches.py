"""The batches of an experiment: of its data file, or of the module's own loaders."""

from __future__ import annotations

import pytorch_lightning as pl

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.own_loaders import OwnLoaders, has_loader
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import Fault
from hpc_dl.models.custom import CustomModelConfig

Batches = HDF5DataModule | OwnLoaders


def batches_of(experiment: Experiment, data: DataSpec, model: pl.LightningModule) -> Batches:
    """Return the data module that the Trainer gets."""
    return HDF5DataModule.from_config(experiment.data, data, experiment.seed) if data.file else OwnLoaders(model)


def has_test_data(batches: Batches, data: DataSpec, model: pl.LightningModule) -> bool:
    """Whether there are batches to test the model on."""
    return has_loader(type(model), "test") if isinstance(batches, OwnLoaders) else "test" in data.sizes


def missing_data_faults(data: DataSpec, model: pl.LightningModule) -> list[Fault]:
    """No data in the YAML, and a module without loaders."""
    if data.file or has_loader(type(model), "train"):
        return []
    problem = f"is required, since {type(model).__name__} has no train_dataloader"
    return [Fault("data", problem, remedy="name a source or file, or define train_dataloader in the module")]


def unused_loaders(experiment: Experiment, data: DataSpec) -> str:
    """What to say where the module's own loaders lose to the ``data`` section; usually nothing."""
    if not data.file or not isinstance(experiment.model, CustomModelConfig):
        return ""
    module = experiment.model.import_class()
    own = [f"{split}_dataloader" for split in ("train", "val", "test") if has_loader(module, split)]
    if not own:
        return ""
    return (
        f"{module.__name__} also defines {' and '.join(own)}: not used, since `data` names the batches. "
        "Leave `data` out to use the module's own."
    )
