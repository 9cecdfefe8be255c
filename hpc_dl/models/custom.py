"""A user-defined LightningModule: ``model: {class: package.module.Class, args: {…}}``."""

from __future__ import annotations

from typing import Any, Literal

import pytorch_lightning as pl
from pydantic import Field
from torch import nn

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, nearest
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.models.base import ModelSection
from hpc_dl.models.construction import construct, import_module
from hpc_dl.schema import ImportPath, import_paths


class CustomModelConfig(ModelSection):
    """A user-defined LightningModule, given by its import path."""

    name: Literal["custom"] = "custom"
    """Always ``custom``; not written in the YAML."""
    class_path: ImportPath = Field(alias="class")
    """Import path of the class, ``package.module.Class``; the current folder is searched as
    well."""
    args: dict[str, Any] = {}
    """Keyword arguments of its ``__init__``; a parameter named ``data`` receives the shapes and
    classes of the data (``DataSpec``). An argument may be an object: ``{class: torch.nn.Linear,
    args: [64, 10]}``."""

    @property
    def import_paths(self) -> list[str]:
        """The import paths of the class and of the objects in its arguments."""
        return [self.class_path, *import_paths(self.args)]

    def build(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """Build the user's module; it uses its own loss and optimizer, and ignores ``recipe``.

        Raises:
            ConfigError: the class cannot be imported, is not a LightningModule, does not accept the
                arguments, or raises an exception.
        """
        module: pl.LightningModule = construct(self.import_class(), self.args, "model.args", self.class_path, data)
        return module

    def import_class(self) -> type[pl.LightningModule]:
        """Import the class.

        Raises:
            ConfigError: it cannot be imported, or is not a LightningModule.
        """
        module_name, _, class_name = self.class_path.rpartition(".")
        module = import_module(module_name, "model.class", self.class_path)
        value = getattr(module, class_name, None)
        if not (isinstance(value, type) and issubclass(value, pl.LightningModule)):
            modules = [
                name
                for name, value in vars(module).items()
                if isinstance(value, type) and issubclass(value, pl.LightningModule)
            ]
            is_network = isinstance(value, type) and issubclass(value, nn.Module)
            raise ConfigError.at(
                "model.class",
                f"is not a LightningModule of {module_name}",
                value=self.class_path,
                allowed=", ".join(modules) or "the module defines none",
                remedy=nearest(class_name, modules)
                or (f"a plain nn.Module is trained with model: {{network: {self.class_path}}}" if is_network else ""),
            )
        return value
