"""The ``sweep`` section of an experiment: which settings vary, and how their values are chosen."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hpc_dl.schema import Section

DEFAULT_OBJECTIVE = "val/loss"
Method = Literal["grid", "random", "sobol", "list"]

# A sweep of them would not compare trainings: they say where and how a run is executed.
_NOT_SWEPT = ("name", "seed", "resources", "wandb", "sweep", "checkpoint.every_n_steps", "checkpoint.every_minutes")
_LISTS = ("values", "choice")
_RANGES = ("uniform", "log_uniform", "integer")
_KINDS = "values, choice, uniform, log_uniform, int"


class Parameter(Section):
    """The values that one setting takes in a sweep: a list, or a range to draw from."""

    values: list[Any] | None = Field(None, min_length=1)
    """The values, in the order in which ``grid`` takes them."""
    choice: list[Any] | None = Field(None, min_length=1)
    """The same as ``values``."""
    uniform: tuple[float, float] | None = None
    """Lowest and highest value of numbers that are drawn evenly."""
    log_uniform: tuple[float, float] | None = None
    """Lowest and highest value of numbers whose logarithm is drawn evenly."""
    integer: tuple[int, int] | None = Field(None, alias="int")
    """Lowest and highest value of integers, both included."""
    when: dict[str, Any] = {}
    """Vary the setting only where others have these values: ``{model.name: cnn}``."""

    @field_validator(*_RANGES, mode="before")
    @classmethod
    def _pair(cls, value: Any) -> Any:
        if value is None:
            return value
        numbers = isinstance(value, (list, tuple)) and all(
            isinstance(bound, (int, float)) and not isinstance(bound, bool) for bound in value
        )
        if not numbers or len(value) != 2 or not value[0] < value[1]:
            raise ValueError("must be two numbers, the lower one first")
        return tuple(value)

    @model_validator(mode="after")
    def _one_kind(self) -> Parameter:
        given = [name for name in (*_LISTS, *_RANGES) if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {_KINDS}")
        if self.log_uniform is not None and self.log_uniform[0] <= 0:
            raise ValueError("log_uniform needs a lowest value above 0")
        return self

    @property
    def listed(self) -> list[Any] | None:
        """The values of a list; ``None`` for a range."""
        return self.values if self.values is not None else self.choice

    def at(self, position: float) -> Any:
        """Return the value at a position between 0 and 1 (exclusive), evenly spread.

        Args:
            position: in [0, 1).
        """
        if (listed := self.listed) is not None:
            return listed[int(position * len(listed))]
        if self.integer is not None:
            low, high = self.integer
            return low + int(position * (high - low + 1))
        if self.uniform is not None:
            low_, high_ = self.uniform
            return low_ + position * (high_ - low_)
        assert self.log_uniform is not None
        logarithms = [math.log(bound) for bound in self.log_uniform]
        return math.exp(logarithms[0] + position * (logarithms[1] - logarithms[0]))


class SweepConfig(Section):
    """Many runs of one experiment, submitted together by ``hpc-dl sweep``."""

    method: Method = "grid"
    """``grid``: all combinations of the values. ``random``: independent draws. ``sobol``: draws
    that cover the ranges evenly (Sobol, 1967). ``list``: the points under ``points``."""
    parameters: dict[str, Parameter] = {}
    """The settings that vary, by their dotted keys."""
    points: list[dict[str, Any]] = []
    """For ``list``: the settings of each point."""
    repeats: int = Field(1, ge=1, le=1000)
    """Runs of each point, with consecutive seeds. A point is judged by their mean."""
    trials: int | None = Field(None, ge=1, le=100_000)
    """The number of points that ``random`` and ``sobol`` draw."""
    seed: int = Field(0, ge=0)
    """Seed of the draws."""
    objective: str = DEFAULT_OBJECTIVE
    """The metric that ranks the points, best first."""
    parallel: int | None = Field(None, ge=1)
    """Most runs at the same time; by default as many as the cluster starts, or as fit on the CPU
    cores of this machine."""
    per_task: int = Field(1, ge=1)
    """Runs that one task of the job array does, one after another."""

    @field_validator("parameters")
    @classmethod
    def _swept_keys(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        for key in parameters:
            check_key(key)
        return parameters

    @model_validator(mode="after")
    def _fits_the_method(self) -> SweepConfig:
        if self.method == "list":
            if not self.points or self.parameters:
                raise ValueError("method list needs points and takes no parameters")
            for key in {key for point in self.points for key in point}:
                check_key(key)
            return self
        if self.points:
            raise ValueError(f"points belong to method list, not to {self.method}")
        if not self.parameters:
            raise ValueError("needs parameters, for example {optimizer.lr: {values: [0.01, 0.001]}}")
        for key, parameter in self.parameters.items():
            if self.method == "grid" and parameter.listed is None:
                raise ValueError(
                    f"method grid needs values for {key} instead of a range; random and sobol draw from ranges"
                )
        if self.method == "grid" and self.trials is not None:
            raise ValueError("method grid runs all combinations and takes no trials")
        if self.method in ("random", "sobol") and self.trials is None:
            raise ValueError(f"method {self.method} needs trials, the number of points")
        return self


def check_key(key: str) -> None:
    """Check that a setting may vary in a sweep.

    Raises:
        ValueError: it says how a run is executed, or has a key of its own.
    """
    if any(key == name or key.startswith(f"{name}.") for name in _NOT_SWEPT):
        remedy = "use repeats" if key == "seed" else "it is the same for all runs of a sweep"
        raise ValueError(f"{key} cannot vary in a sweep: {remedy}")
