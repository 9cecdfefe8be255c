"""The batches of an experiment: of its data file, or of a user's own loaders."""

from __future__ import annotations

import pytorch_lightning as pl

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.own_data_config import DataModuleConfig
from hpc_dl.data.own_loaders import LoadersOfModule, OwnLoaders, has_loader, loaders_of
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.models.construction import construct, import_object
from hpc_dl.models.custom import CustomModelConfig

Batches = HDF5DataModule | OwnLoaders


def batches_of(experiment: Experiment, data: DataSpec, model: pl.LightningModule) -> Batches:
    """Return the data module that the Trainer gets.

    Raises:
        ConfigError: the user's data module cannot be made.
    """
    if data.file:
        return HDF5DataModule.from_config(experiment.data, data, experiment.seed)
    config = experiment.data
    if not isinstance(config, DataModuleConfig):
        return LoadersOfModule(model)
    kind = import_object(config.class_path, "data.class")
    module = construct(kind, config.args, "data.args", config.class_path)
    if not isinstance(module, pl.LightningDataModule):
        raise ConfigError.at("data.class", "is not a LightningDataModule of pytorch_lightning", value=config.class_path)
    return loaders_of(module)


def has_test_data(batches: Batches, data: DataSpec) -> bool:
    """Whether there are batches to test the model on."""
    return batches.has_loader("test") if isinstance(batches, OwnLoaders) else "test" in data.sizes


def missing_data_faults(experiment: Experiment, data: DataSpec, model: pl.LightningModule) -> list[Fault]:
    """No data in the YAML, and a module without loaders.

    Raises:
        ConfigError: the user's data module cannot be made.
    """
    if data.file:
        return []
    if isinstance(experiment.data, DataModuleConfig):
        batches = batches_of(experiment, data, model)
        assert isinstance(batches, OwnLoaders)
        if batches.has_loader("train"):
            return []
        return [Fault("data.class", "has no train_dataloader", value=experiment.data.class_path)]
    if has_loader(type(model), "train"):
        return []
    problem = f"is required, since {type(model).__name__} has no train_dataloader"
    return [Fault("data", problem, remedy="name a source or file, or define train_dataloader in the module")]


def check_has_batches(experiment: Experiment, trainer: pl.Trainer) -> None:
    """Check, after the training, that there was something to train on.

    Raises:
        ConfigError: a user's own loader returns no batches.
    """
    if trainer.global_step or trainer.num_training_batches:
        return
    raise ConfigError.at(
        "model.class" if isinstance(trainer.datamodule, LoadersOfModule) else "data.class",  # type: ignore[attr-defined]
        "its train_dataloader returns no batches",
        value=[*experiment.data.import_paths, *experiment.model.import_paths][0],
        remedy="check the number of its samples, its batch_size and drop_last",
    )


def unused_loaders(experiment: Experiment, data: DataSpec) -> str:
    """What to say where the module's own loaders lose to the ``data`` section; usually nothing."""
    named = data.file or isinstance(experiment.data, DataModuleConfig)
    if not named or not isinstance(experiment.model, CustomModelConfig):
        return ""
    module = experiment.model.import_class()
    own = [f"{split}_dataloader" for split in ("train", "val", "test") if has_loader(module, split)]
    if not own:
        return ""
    return (
        f"{module.__name__} also defines {' and '.join(own)}: not used, since `data` names the batches. "
        "Leave `data` out to use the module's own."
    )
