"""The ``schedule`` section: the learning rate over the optimizer steps. No schedule but ``plateau``
counts epochs.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from hpc_dl.learning.direction import Mode, direction
from hpc_dl.schema import Section, Unit


class ScheduleConfig(Section):
    """What every schedule has."""

    name: str
    """Which schedule."""

    @abstractmethod
    def build(self, optimizer: Optimizer, total_steps: int) -> LRScheduler:
        """The torch scheduler.

        Args:
            optimizer: whose learning rates are scaled.
            total_steps: optimizer steps of the whole training.
        """


class Curve(ScheduleConfig):
    """A schedule that is known beforehand: a function of the step."""

    @abstractmethod
    def factor(self, step: int, total_steps: int) -> float:
        """The share of the learning rate.

        Args:
            step: optimizer steps so far; since the end of the warm-up, where there is one.
            total_steps: optimizer steps from there to the training's end.
        """

    def build(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """The torch scheduler, to be stepped after each optimizer step."""
        return LambdaLR(optimizer, lambda step: self.factor(step, max(1, total_steps)))


class WarmedUp(Curve):
    """A schedule that can begin with a warm-up."""

    warmup_steps: Annotated[int, Field(ge=0), Unit("optimizer steps")] = 0
    """Raise the learning rate linearly from near zero over so many steps (Goyal et al., 2017)."""

    def build(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """The torch scheduler, to be stepped after each optimizer step."""
        warmup, rest = self.warmup_steps, max(1, total_steps - self.warmup_steps)

        def share(step: int) -> float:
            return (step + 1) / (warmup + 1) if step < warmup else self.factor(step - warmup, rest)

        return LambdaLR(optimizer, share)


class Constant(WarmedUp):
    """The learning rate stays as it is."""

    name: Literal["constant"] = "constant"
    """Which schedule."""

    def factor(self, step: int, total_steps: int) -> float:
        """1, always."""
        return 1.0


class Cosine(WarmedUp):
    """Half a cosine from the learning rate down to ``final`` of it (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"] = "cosine"
    """Which schedule."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """From 1 down to ``final``."""
        return _half_cosine(1.0, self.final, step / total_steps)


class Step(WarmedUp):
    """Multiply the learning rate by ``gamma`` every ``every`` steps."""

    name: Literal["step"] = "step"
    """Which schedule."""
    every: Annotated[int, Field(ge=1), Unit("optimizer steps")]
    """Steps between two changes."""
    gamma: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Factor of each change."""

    def factor(self, step: int, total_steps: int) -> float:
        """``gamma`` to the power of the changes so far."""
        return self.gamma ** (step // self.every)


class Exponential(WarmedUp):
    """Decay the learning rate smoothly, to ``final`` of it at the end."""

    name: Literal["exponential"] = "exponential"
    """Which schedule."""
    final: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """``final`` to the power of the progress."""
        return math.exp(math.log(self.final) * min(1.0, step / total_steps))


class Polynomial(WarmedUp):
    """A straight line down to ``final`` of the learning rate at the end, or another power of what
    is left.
    """

    name: Literal["polynomial"] = "polynomial"
    """Which schedule."""
    power: Annotated[float, Field(gt=0)] = 1.0
    """1 is a straight line; higher ones fall faster at the beginning."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """The share of the steps that is left to the power of ``power``, from 1 down to ``final``."""
        left = max(0.0, 1 - step / total_steps)
        return self.final + (1 - self.final) * math.pow(left, self.power)


class OneCycle(Curve):
    """Up to the learning rate, then down to nearly nothing, each along half a cosine (Smith, 2018)."""

    name: Literal["one_cycle"] = "one_cycle"
    """Which schedule."""
    rise: Annotated[float, Field(gt=0, lt=1), Unit("share of the steps")] = 0.3
    """How long it goes up; its own warm-up."""
    initial: Annotated[float, Field(gt=0, le=1)] = 0.04
    """Share of the learning rate at the beginning."""
    final: Annotated[float, Field(ge=0, le=1)] = 4e-6
    """Share of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """From ``initial`` up to 1 and down to ``final``."""
        progress = step / total_steps
        if progress < self.rise:
            return _half_cosine(self.initial, 1.0, progress / self.rise)
        return _half_cosine(1.0, self.final, (progress - self.rise) / (1 - self.rise))


class Plateau(ScheduleConfig):
    """Lower the learning rate whenever the validation has not become better for some epochs.

    It is stepped at the end of each epoch that validates, by the last validation.
    """

    name: Literal["plateau"] = "plateau"
    """Which schedule."""
    monitor: str = "val/loss"
    """What is watched: a metric of the validation."""
    mode: Mode = "auto"
    """Whether less (``min``) or more (``max``) of it is better; ``auto``: as its name tells."""
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """What the learning rate is multiplied by."""
    patience: Annotated[int, Field(ge=0), Unit("epochs")] = 10
    """Epochs without improvement that are let pass; those without a validation do not count."""
    threshold: Annotated[float, Field(ge=0)] = 1e-4
    """An improvement by less than this share is none."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The learning rate never falls below this share."""

    def build(self, optimizer: Optimizer, total_steps: int) -> ReduceLROnPlateau:
        """The torch scheduler, to be stepped with a value of ``monitor``."""
        lowest = [self.final * group["lr"] for group in optimizer.param_groups]
        return ReduceLROnPlateau(
            optimizer,
            mode=direction(self.monitor, self.mode),
            factor=self.factor,
            patience=self.patience,
            threshold=self.threshold,
            min_lr=lowest,
        )


def _half_cosine(first: float, last: float, progress: float) -> float:
    """From the first value to the last one, which stays once the progress has come to 1."""
    return last + (first - last) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "constant": Constant,
    "cosine": Cosine,
    "step": Step,
    "exponential": Exponential,
    "polynomial": Polynomial,
    "one_cycle": OneCycle,
    "plateau": Plateau,
}
