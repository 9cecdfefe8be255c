"""The LightningModule that every architecture extends: it adds optimizer, schedule and logging."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch

from hpc_dl.errors import ConfigError
from hpc_dl.learning.abilities import Ability
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import Plateau


class TrainingModule(pl.LightningModule):
    """A LightningModule with optimizer, schedule, and one row of metrics per evaluation.

    A callback in ``hpc_dl.training`` collects the training metrics: calling ``self.log`` in each
    step takes longer than the step of a small network.
    """

    def __init__(self, recipe: TrainingRecipe) -> None:
        super().__init__()
        self.recipe = recipe

    @property
    def abilities(self) -> tuple[Ability, ...]:
        """What can be done with the trained module besides evaluating it."""
        return ()

    def configure_optimizers(self) -> Any:
        """Build the optimizer and the schedule.

        The schedule is stepped after each optimizer step; ``plateau`` is stepped after each epoch
        that validates.

        Raises:
            ConfigError: the schedule monitors a validation metric, and there is no validation.
        """
        schedule, total_steps = self.recipe.schedule, self.recipe.total_steps
        optimizer = self.recipe.optimizer.build(p for p in self.parameters() if p.requires_grad)
        options: dict[str, Any] = {"scheduler": schedule.build(optimizer, total_steps), "interval": "step"}
        if isinstance(schedule, Plateau):
            if "val" not in self.recipe.data.sizes or not self.trainer.enable_validation:
                raise ConfigError.at(
                    "schedule.name",
                    "needs a validation split to monitor, and there is none",
                    value=schedule.name,
                    remedy="choose another schedule, or enable validation (data.splits, limit_val_batches)",
                )
            options |= {"interval": "epoch", "monitor": schedule.monitor, "reduce_on_plateau": True}
            options["frequency"] = self.trainer.check_val_every_n_epoch or 1
        return {"optimizer": optimizer, "lr_scheduler": options}

    def log_evaluation(self, split: str, values: Mapping[str, torch.Tensor]) -> None:
        """Log one row with the results of an evaluation.

        Args:
            split: ``val`` or ``test``.
            values: scalars by their full names (``val/loss``), already reduced over all ranks.
        """
        # The loggers are called directly: Lightning would log the row with the previous step.
        self.log_dict(dict(values), logger=False)
        if self.trainer.sanity_checking:
            return
        row = {name: float(value) for name, value in values.items()}
        if split == "val":  # a test runs after the last epoch and belongs to no epoch
            row["epoch"] = float(self.current_epoch)
        for logger in self.loggers:
            logger.log_metrics(row, step=self.global_step)
