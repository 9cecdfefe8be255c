"""What the configuration of every architecture has: a name, what it takes, and how its
LightningModule is built.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar

import pytorch_lightning as pl

from hpc_dl.data.spec import DENSE, DataSpec, InputKind, TaskName
from hpc_dl.errors import ConfigError, Fault
from hpc_dl.learning.losses import LossName
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.nn.initialization import Initialization, initialize
from hpc_dl.schema import Section


class ModelSection(Section):
    """The ``model`` section: it builds the LightningModule that is trained."""

    name: str
    """Which architecture (``hpc-dl models`` lists them)."""
    init_from: str | None = None
    """Begin with the weights of a run (its best ones) or of a checkpoint file, wherever names and
    shapes agree; a head for other classes begins fresh."""
    freeze: list[str] = []
    """Parts that are not learned, by the names of modules or parameters: ``features``,
    ``layers.0.*``."""

    @abstractmethod
    def build(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """The module for data of these shapes, with fresh weights.

        Raises:
            ConfigError: it does not fit the data.
        """


class ModelConfig(ModelSection):
    """The ``model`` section of one architecture. Its fields are the architecture's parameters.

    Attributes:
        inputs: kinds of inputs that it takes.
        tasks: what it can be trained for.
        auto_loss: what ``loss.name: auto`` means, where it is not the task's usual one.
        small: parameters of a small one, for a first look and for tests.
        metrics: names of what it logs in an evaluation beyond the task's own, without the split.
        no_export: why it cannot be written as ONNX; empty where it can.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = DENSE
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "multilabel", "regression")
    auto_loss: ClassVar[LossName] = "auto"
    small: ClassVar[dict[str, Any]] = {}
    metrics: ClassVar[tuple[str, ...]] = ()
    no_export: ClassVar[str] = ""

    init: Initialization = Initialization()
    """How the weights begin."""

    def build(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """The module for data of these shapes, with fresh weights.

        Raises:
            ConfigError: the architecture does not fit the inputs or the task.
        """
        self._check(data)
        if self.auto_loss != "auto" and recipe.task.config.name == "auto":
            recipe = replace(recipe, task=recipe.task.with_loss(self.auto_loss))
        module = self.module(data, recipe)
        initialize(module, self.init)
        return module

    @abstractmethod
    def module(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """The module for data that are of one of ``inputs`` and for one of ``tasks``.

        Raises:
            ConfigError: the parameters do not fit the shapes.
        """

    def _check(self, data: DataSpec) -> None:
        faults = []
        if data.input_kind not in self.inputs:
            faults.append(
                Fault(
                    "model.name",
                    f"does not take {data.inputs_in_words}, as {data.file} has them",
                    value=self.name,
                    allowed=f"data of one of the kinds {', '.join(self.inputs)}",
                    remedy="choose another architecture; `hpc-dl models NAME` says what one takes",
                )
            )
        if data.task not in self.tasks:
            faults.append(
                Fault(
                    "model.name",
                    f"cannot be trained for {data.task} (data.task)",
                    value=self.name,
                    allowed=", ".join(self.tasks),
                    remedy="choose another architecture; `hpc-dl models NAME` says what one is for",
                )
            )
        if faults:
            raise ConfigError(*faults)
