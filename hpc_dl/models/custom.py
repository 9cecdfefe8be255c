"""A user-defined LightningModule: ``model: {class: package.module.Class, args: {…}}``."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
from typing import Any, Literal

import pytorch_lightning as pl
from pydantic import Field, field_validator

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError, HpcDlError, nearest
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.models.base import ModelSection


class CustomModelConfig(ModelSection):
    """A user-defined LightningModule, given by its import path."""

    name: Literal["custom"] = "custom"
    """Always ``custom``; not written in the YAML."""
    class_path: str = Field(alias="class")
    """Import path of the class, ``package.module.Class``; the current folder is searched as
    well."""
    args: dict[str, Any] = {}
    """Keyword arguments of its ``__init__``; a parameter named ``data`` receives the shapes and
    classes of the data (``DataSpec``)."""

    @field_validator("class_path")
    @classmethod
    def _dotted(cls, value: str) -> str:
        if not all(part.isidentifier() for part in value.split(".")) or "." not in value:
            raise ValueError("must be an import path such as my_package.my_module.MyModel")
        return value

    @property
    def title(self) -> str:
        """The name of the class."""
        return self.class_path.rpartition(".")[2]

    def build(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """Build the user's module; it uses its own loss and optimizer, and ignores ``recipe``.

        Raises:
            ConfigError: the class cannot be imported, is not a LightningModule, does not accept the
                arguments, or raises an exception.
        """
        module_class = self.import_class()
        signature = inspect.signature(module_class)
        args = dict(self.args)
        if "data" in signature.parameters and "data" not in args:
            args["data"] = data
        try:
            signature.bind(**args)
        except TypeError as error:
            raise ConfigError.at(
                "model.args",
                f"do not fit {self.class_path}: {error}",
                value=self.args,
                allowed=", ".join(signature.parameters),
            ) from None
        try:
            return module_class(**args)
        except HpcDlError:
            raise
        except Exception as error:  # a user's __init__ may raise anything
            last = traceback.extract_tb(error.__traceback__)[-1]
            raise ConfigError.at(
                "model.args",
                f"{self.class_path} raised {type(error).__name__}: {error}, in {last.filename} line {last.lineno}",
                value=self.args,
            ) from error

    def import_class(self) -> type[pl.LightningModule]:
        """Import the class.

        Raises:
            ConfigError: it cannot be imported, or is not a LightningModule.
        """
        module_name, _, class_name = self.class_path.rpartition(".")
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        try:
            module = importlib.import_module(module_name)
        except Exception as error:  # a user's module may raise anything while it is imported
            raise ConfigError.at(
                "model.class",
                f"cannot import {module_name}: {type(error).__name__}: {error}",
                value=self.class_path,
                remedy="start hpc-dl in the folder that contains your package, or install it",
            ) from error
        value = getattr(module, class_name, None)
        if not (isinstance(value, type) and issubclass(value, pl.LightningModule)):
            modules = [
                name
                for name, value in vars(module).items()
                if isinstance(value, type) and issubclass(value, pl.LightningModule)
            ]
            raise ConfigError.at(
                "model.class",
                f"is not a LightningModule of {module_name}",
                value=self.class_path,
                allowed=", ".join(modules) or "the module defines none",
                remedy=nearest(class_name, modules),
            )
        return value
