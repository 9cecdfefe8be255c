"""The training recipe: task, optimizer, schedule and number of steps."""

from __future__ import annotations

from dataclasses import dataclass

from hpc_dl.data.spec import DataSpec
from hpc_dl.learning.optimizers import OptimizerConfig
from hpc_dl.learning.schedules import ScheduleConfig
from hpc_dl.learning.task import Task


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything that a training needs in addition to the network.

    Attributes:
        task: loss and metrics.
        optimizer: the ``optimizer`` section.
        schedule: the ``schedule`` section.
        total_steps: optimizer steps of the whole training, the horizon of the schedule.
    """

    task: Task
    optimizer: OptimizerConfig
    schedule: ScheduleConfig
    total_steps: int

    @property
    def data(self) -> DataSpec:
        """The shapes, classes and sizes of the training data."""
        return self.task.data
