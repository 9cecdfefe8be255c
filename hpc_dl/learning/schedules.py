"""The ``schedule`` section: how the learning rate changes during training.

All schedules count optimizer steps, except ``plateau``, which counts epochs. To add a schedule,
write its class and its entry in ``SCHEDULES``.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from hpc_dl.learning.direction import Mode, direction
from hpc_dl.learning.range_test import rate_at
from hpc_dl.schema import Section, Unit


class ScheduleConfig(Section):
    """The options of every schedule."""

    name: str
    """Name of the schedule."""

    @abstractmethod
    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """Build the torch scheduler.

        Args:
            optimizer: the optimizer whose learning rates are scaled.
            total_steps: optimizer steps of the whole training.
        """


class Curve(ScheduleConfig):
    """A schedule that depends on the step only."""

    @abstractmethod
    def factor(self, step: int, total_steps: int) -> float:
        """Return the factor of the learning rate.

        Args:
            step: optimizer steps so far, without the warm-up.
            total_steps: optimizer steps of the training, without the warm-up.
        """

    def build(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """Build the torch scheduler, to be stepped after each optimizer step."""
        return LambdaLR(optimizer, lambda step: self.factor(step, max(1, total_steps)))


class WithWarmup(Curve):
    """A schedule with an optional warm-up."""

    warmup_steps: Annotated[int, Field(ge=0), Unit("optimizer steps")] = 0
    """Optimizer steps in which the learning rate rises linearly from near zero (Goyal et al.,
    2017)."""

    def build(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """Build the torch scheduler, to be stepped after each optimizer step."""
        warmup, remaining = self.warmup_steps, max(1, total_steps - self.warmup_steps)

        def warmed_up(step: int) -> float:
            return (step + 1) / (warmup + 1) if step < warmup else self.factor(step - warmup, remaining)

        return LambdaLR(optimizer, warmed_up)


class Constant(WithWarmup):
    """A constant learning rate."""

    name: Literal["constant"] = "constant"
    """Name of the schedule."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return 1."""
        return 1.0


class Cosine(WithWarmup):
    """Cosine decay of the learning rate to ``final`` times it (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"] = "cosine"
    """Name of the schedule."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Factor of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return the value of the cosine between 1 and ``final``."""
        return _half_cosine(1.0, self.final, step / total_steps)


class Step(WithWarmup):
    """Multiply the learning rate by ``gamma`` every ``every`` steps."""

    name: Literal["step"] = "step"
    """Name of the schedule."""
    every: Annotated[int, Field(ge=1), Unit("optimizer steps")]
    """Optimizer steps between two changes."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor of each change."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return ``gamma`` to the power of the number of changes so far."""
        return self.gamma ** (step // self.every)


class Exponential(WithWarmup):
    """Exponential decay of the learning rate to ``final`` times it at the end."""

    name: Literal["exponential"] = "exponential"
    """Name of the schedule."""
    final: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Factor of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return ``final`` to the power of the completed share of the steps."""
        return math.exp(math.log(self.final) * min(1.0, step / total_steps))


class Polynomial(WithWarmup):
    """Polynomial decay of the learning rate to ``final`` times it at the end; linear by default."""

    name: Literal["polynomial"] = "polynomial"
    """Name of the schedule."""
    power: Annotated[float, Field(gt=0)] = 1.0
    """1 is linear; larger values fall faster at the start."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Factor of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return (1 − progress) to the power of ``power``, scaled to end at ``final``."""
        remaining = max(0.0, 1 - step / total_steps)
        return self.final + (1 - self.final) * math.pow(remaining, self.power)


class OneCycle(Curve):
    """Rise to the learning rate, then fall to nearly 0, each along half a cosine (Smith, 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    """Name of the schedule."""
    rise: Annotated[float, Field(gt=0, lt=1), Unit("share of the steps")] = 0.3
    """Share of the steps in which it rises; this replaces a warm-up."""
    initial: Annotated[float, Field(gt=0, le=1)] = 0.04
    """Factor of the learning rate at the start."""
    final: Annotated[float, Field(ge=0, le=1)] = 4e-6
    """Factor of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """Return the value between ``initial``, 1 and ``final``."""
        progress = step / total_steps
        if progress < self.rise:
            return _half_cosine(self.initial, 1.0, progress / self.rise)
        return _half_cosine(1.0, self.final, (progress - self.rise) / (1 - self.rise))


class Plateau(ScheduleConfig):
    """Lower the learning rate when a validation metric has not improved for some epochs.

    It is updated at the end of each epoch that validates, with the last validation.
    """

    name: Literal["plateau"] = "plateau"
    """Name of the schedule."""
    monitor: str = "val/loss"
    """The validation metric to monitor."""
    mode: Mode = "auto"
    """Whether lower (``min``) or higher (``max``) values are better; ``auto``: by the metric's
    name."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Factor by which the learning rate is multiplied."""
    patience: Annotated[int, Field(ge=0), Unit("epochs")] = 10
    """Number of epochs without improvement that are tolerated; only epochs that validate count."""
    threshold: Annotated[float, Field(ge=0)] = 1e-4
    """Smallest relative change that counts as an improvement."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Lower limit of the learning rate, as a factor of the initial one."""

    def build(self, optimizer: Optimizer, total_steps: int) -> ReduceLROnPlateau:
        """Build the torch scheduler, to be stepped with a value of ``monitor``."""
        lowest = [self.final * group["lr"] for group in optimizer.param_groups]
        return ReduceLROnPlateau(
            optimizer,
            mode=direction(self.monitor, self.mode),
            factor=self.factor,
            patience=self.patience,
            threshold=self.threshold,
            min_lr=lowest,
        )


class RangeTest(ScheduleConfig):
    """Rise from ``optimizer.lr`` to ``last``, for ``hpc-dl lr-range`` (Smith, 2017)."""

    name: Literal["range_test"] = "range_test"
    """Name of the schedule."""
    last: Annotated[float, Field(gt=0)] = 10.0
    """Learning rate of the last step."""

    def build(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """Build the torch scheduler, to be stepped after each optimizer step."""
        first = optimizer.param_groups[0]["lr"]
        return LambdaLR(
            optimizer, lambda step: rate_at(min(step, total_steps - 1), total_steps, first, self.last) / first
        )


def _half_cosine(first: float, last: float, progress: float) -> float:
    """Return a half cosine's value from ``first`` to ``last``; ``last`` once the progress is 1."""
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "constant": Constant,
    "cosine": Cosine,
    "step": Step,
    "exponential": Exponential,
    "polynomial": Polynomial,
    "one_cycle": OneCycle,
    "plateau": Plateau,
    "range_test": RangeTest,
}
