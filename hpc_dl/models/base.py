"""The base classes of the ``model`` section: name, supported data, initial weights, and build."""

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
    """The ``model`` section, which builds the LightningModule to train."""

    name: str
    """Name of the architecture (``hpc-dl models`` lists them)."""
    init_from: str | None = None
    """Start from the best weights of a run, or from a file (a checkpoint, a state dict of
    ``torch.save``, ``.safetensors``): parameters of the same name and shape are loaded, the others
    (such as a head for other classes) are initialized as usual. ``resnet`` also reads torchvision's
    names."""
    freeze: list[str] = []
    """Parameters that are not trained, as names or patterns of modules or parameters: ``features``,
    ``layers.0.*``."""

    @property
    def title(self) -> str:
        """What people call the model: the architecture, or the name of the user's own class."""
        return self.import_paths[0].rpartition(".")[2] if self.import_paths else self.name

    @abstractmethod
    def build(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """Build the module for these data, with initial weights.

        Raises:
            ConfigError: the architecture does not support the data.
        """

    @property
    def fixed_size(self) -> str:
        """Why the trained network takes inputs of one size only; empty if it takes others, too."""
        return "it has a weight for each value of a sample"

    @property
    def import_paths(self) -> list[str]:
        """The import paths of a user's own code; empty for a shipped architecture."""
        return []


class ModelConfig(ModelSection):
    """The ``model`` section of one architecture; its fields are the architecture's parameters.

    Attributes:
        inputs: kinds of inputs that it supports.
        tasks: tasks that it supports.
        auto_loss: the loss for ``loss.name: auto``, where it is not the task's default.
        small: parameters of a small model, for tests and examples.
        metrics: metrics that it logs in addition to the task's, without the split.
        no_export: why it cannot be exported as ONNX; empty if it can.
    """

    inputs: ClassVar[tuple[InputKind, ...]] = DENSE
    tasks: ClassVar[tuple[TaskName, ...]] = ("classification", "multilabel", "regression")
    auto_loss: ClassVar[LossName] = "auto"
    small: ClassVar[dict[str, Any]] = {}
    metrics: ClassVar[tuple[str, ...]] = ()
    no_export: ClassVar[str] = ""

    init: Initialization = Initialization()
    """Initial weights."""

    def build(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """Build the module for these data, with initial weights.

        Raises:
            ConfigError: the architecture does not support the data.
        """
        self._check(data)
        if self.auto_loss != "auto" and recipe.task.config.name == "auto":
            recipe = replace(recipe, task=recipe.task.with_loss(self.auto_loss))
        module = self.module(data, recipe)
        initialize(module, self.init)
        return module

    @abstractmethod
    def module(self, data: DataSpec, recipe: TrainingRecipe) -> pl.LightningModule:
        """Build the module for these data, with initial weights.

        Raises:
            ConfigError: the architecture does not support the data.
        """

    def _check(self, data: DataSpec) -> None:
        faults = []
        if data.input_kind not in self.inputs:
            faults.append(
                Fault(
                    "model.name",
                    f"does not support {data.inputs_description}, which {data.file} contains",
                    value=self.name,
                    allowed=f"inputs of the kinds {', '.join(self.inputs)}",
                    remedy="choose another architecture; `hpc-dl models NAME` shows the supported inputs",
                )
            )
        if data.task not in self.tasks:
            faults.append(
                Fault(
                    "model.name",
                    f"does not support the task {data.task} (data.task)",
                    value=self.name,
                    allowed=", ".join(self.tasks),
                    remedy="choose another architecture; `hpc-dl models NAME` shows the supported tasks",
                )
            )
        if faults:
            raise ConfigError(*faults)
