"""The LightningModule of an architecture with one network and one loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import nn
from torchmetrics import MeanMetric

from hpc_dl.data.ragged import Ragged
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.last_hidden_layer import last_hidden_layer
from hpc_dl.learning.losses import penalty
from hpc_dl.learning.mixup import mixed
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.nn.sequences import unpad


class Supervised(TrainingModule):
    """Training, validation and test of a network that maps inputs to outputs for the task.

    A subclass builds its layers in ``__init__`` and documents its shapes in ``forward``; it needs
    nothing else. ``forward`` gets the scaled inputs: (B, *input_shape); a ``Ragged`` where samples
    differ in length; a mapping from names to these for multiple inputs. See
    :class:`hpc_dl.learning.task.Task` for the shapes of the outputs.
    """

    def __init__(self, recipe: TrainingRecipe) -> None:
        super().__init__(recipe)
        self.evaluation = nn.ModuleDict(
            {split: recipe.task.metrics(f"{split}/") for split in ("val", "test")}
            | {f"{split}_loss": MeanMetric() for split in ("val", "test")}
        )

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """Outputs are predictions, and the last hidden layer represents a sample."""
        return ("predict", "embed")

    @abstractmethod
    def forward(self, x: Any) -> torch.Tensor:
        """Map a batch of inputs to outputs."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        """Return the mean loss of a batch plus the penalties on the weights, a scalar."""
        x, y = self.inputs_and_targets(batch)
        task = self.recipe.task
        config = task.config
        if config.mixup:
            x, others, share = mixed(x, config.mixup)
            outputs = self.outputs_for(x, y)
            loss = share * task.loss(outputs, y) + (1 - share) * task.loss(outputs, y[others])
        else:
            loss = task.loss(self.outputs_for(x, y), y)
        if config.l1 or config.l2:
            weight_penalty = penalty(list(self.parameters()), config)
            return loss if weight_penalty is None else loss + weight_penalty
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Update loss and metrics with a validation batch."""
        self._evaluate("val", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Update loss and metrics with a test batch."""
        self._evaluate("test", batch)

    def on_validation_epoch_end(self) -> None:
        """Log ``val/loss`` and the task's metrics of the whole split, over all ranks."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Log ``test/loss`` and the task's metrics of the whole split, over all ranks."""
        self._log_evaluation("test")

    def inputs_and_targets(self, batch: Any) -> tuple[Any, Any]:
        """Split a batch into the inputs of :meth:`forward` and the targets."""
        data = self.recipe.data
        if isinstance(batch, dict):
            named = {field.name: batch[field.name] for field in data.inputs}
            x = named if len(named) > 1 else next(iter(named.values()))
            y = batch[data.targets[0].name] if data.targets else x
        elif data.targets:
            x, y = batch
        else:
            (x,) = batch
            y = x
        return x, y

    def outputs_for(self, x: Any, y: Any) -> torch.Tensor:
        """Return the outputs that the loss compares with the targets.

        By default ``forward`` of the inputs; a decoder overrides this to read the targets as well.
        """
        outputs: torch.Tensor = self(x)
        return outputs

    def embed(self, x: Any) -> torch.Tensor:
        """Represent samples by the last hidden layer, from which the outputs are computed.

        Returns:
            (B, F) for outputs per sample; for outputs per position (B, F, *positions), or (B,
            steps, F) for steps; (total steps or nodes, F) for samples of different lengths.
        """
        hidden = last_hidden_layer(self, x)
        return unpad(hidden, x.lengths) if isinstance(x, Ragged) and hidden.ndim == 3 else hidden

    def _evaluate(self, split: str, batch: Any) -> None:
        x, y = self.inputs_and_targets(batch)
        outputs = self.outputs_for(x, y)
        task = self.recipe.task
        self.evaluation[f"{split}_loss"].update(task.loss(outputs, y), weight=task.weight(y))  # type: ignore[operator]
        task.update(self.evaluation[split], outputs, y)  # type: ignore[arg-type]

    def _log_evaluation(self, split: str) -> None:
        # compute() reduces over all ranks.
        loss, metrics = self.evaluation[f"{split}_loss"], self.evaluation[split]
        self.log_evaluation(split, {f"{split}/loss": loss.compute(), **metrics.compute()})  # type: ignore[operator]
        loss.reset()  # type: ignore[operator]
        metrics.reset()  # type: ignore[operator]
