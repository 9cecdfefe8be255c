"""The ``data`` section of a LightningModule that has loaders of its own, or a data module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from hpc_dl.data.config import DataConfig
from hpc_dl.errors import ConfigError
from hpc_dl.schema import ImportPath, import_paths, parse


class OwnLoadersConfig(DataConfig):
    """A ``data`` section that was left out: the user's module has its own loaders."""

    @model_validator(mode="after")
    def _check_combinations(self) -> OwnLoadersConfig:
        return self


class DataModuleConfig(OwnLoadersConfig):
    """A user's LightningDataModule: ``data: {class: package.module.Class, args: {…}}``."""

    class_path: ImportPath = Field(alias="class")
    """Import path of the class."""
    args: dict[str, Any] = {}
    """Keyword arguments of its ``__init__``; they may be objects, as in ``model.args``."""

    @property
    def import_paths(self) -> list[str]:
        """The import paths of the class and of the objects in its arguments."""
        return [self.class_path, *import_paths(self.args)]

    @model_validator(mode="after")
    def _check_combinations(self) -> DataModuleConfig:
        if ignored := self.model_fields_set - {"class_path", "args"}:
            names = ", ".join(f"`{name}`" for name in sorted(ignored))
            raise ValueError(f"{names}: not used with a data module of your own; give it values with `args`")
        return self


def data_section(experiment: Mapping[str, Any]) -> DataConfig:
    """Parse the ``data`` section of an experiment's mapping.

    With a LightningModule it may be left out, or name a LightningDataModule.

    Raises:
        ConfigError: it is invalid.
    """
    model, data = experiment.get("model"), experiment.get("data")
    has_own_module = isinstance(model, Mapping) and "class" in model
    if data is None and has_own_module:
        return OwnLoadersConfig()
    if not isinstance(data, Mapping) or "class" not in data:
        return parse(DataConfig, data, "data")
    if not has_own_module:
        raise ConfigError.at(
            "data.class",
            "needs a LightningModule: of a data module's samples hpc_dl knows no shapes and no classes",
            value=data["class"],
            remedy="write model: {class: …}, or store the samples in HDF5 (`hpc-dl data pack`)",
        )
    return parse(DataModuleConfig, data, "data")
