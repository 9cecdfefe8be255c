"""The ``schedule`` section: the learning rate over the optimizer steps. No schedule counts epochs."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from hpc_dl.schema import Section, Unit


class ScheduleConfig(Section):
    """What every schedule has."""

    name: str
    """Which schedule."""
    warmup_steps: Annotated[int, Field(ge=0), Unit("optimizer steps")] = 0
    """Raise the learning rate linearly from near zero over so many steps (Goyal et al., 2017)."""

    @abstractmethod
    def factor(self, step: int, total_steps: int) -> float:
        """The share of the learning rate after the warm-up.

        Args:
            step: optimizer steps since the warm-up's end.
            total_steps: optimizer steps from there to the training's end.
        """

    def build(self, optimizer: Optimizer, total_steps: int) -> LambdaLR:
        """The torch scheduler, to be stepped after each optimizer step.

        Args:
            optimizer: whose learning rates are scaled.
            total_steps: optimizer steps of the whole training.
        """
        warmup, rest = self.warmup_steps, max(1, total_steps - self.warmup_steps)

        def share(step: int) -> float:
            return (step + 1) / (warmup + 1) if step < warmup else self.factor(step - warmup, rest)

        return LambdaLR(optimizer, share)


class Constant(ScheduleConfig):
    """The learning rate stays as it is."""

    name: Literal["constant"] = "constant"
    """Which schedule."""

    def factor(self, step: int, total_steps: int) -> float:
        """1, always."""
        return 1.0


class Cosine(ScheduleConfig):
    """Half a cosine from the learning rate down to ``final`` of it (Loshchilov and Hutter, 2017)."""

    name: Literal["cosine"] = "cosine"
    """Which schedule."""
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """From 1 down to ``final``."""
        progress = min(1.0, step / total_steps)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * progress)) / 2


class Step(ScheduleConfig):
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


class Exponential(ScheduleConfig):
    """Decay the learning rate smoothly, to ``final`` of it at the end."""

    name: Literal["exponential"] = "exponential"
    """Which schedule."""
    final: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of the learning rate at the end."""

    def factor(self, step: int, total_steps: int) -> float:
        """``final`` to the power of the progress."""
        return math.exp(math.log(self.final) * min(1.0, step / total_steps))


SCHEDULES: dict[str, type[ScheduleConfig]] = {
    "constant": Constant,
    "cosine": Cosine,
    "step": Step,
    "exponential": Exponential,
}
