"""The ``sweep`` section of an experiment: which settings vary, and how their values are chosen."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hpc_dl.schema import Section

DEFAULT_OBJECTIVE = "val/loss"
Method = Literal["grid", "random", "sobol", "list", "tpe", "asha"]
ADAPTIVE = ("tpe", "asha")
"""Methods that choose a point when its task starts."""

# A sweep of them would not compare trainings: they say where and how a run is executed.
_NOT_SWEPT = ("name", "seed", "resources", "wandb", "sweep", "checkpoint.every_n_steps", "checkpoint.every_minutes")
_NOT_CHOSEN_LATE = ("data.source", "data.file", "model.init_from")
_LISTS = ("values", "choice")
_RANGES = ("uniform", "log_uniform", "integer")
_LEAST_AT_ONCE = 4  # of tpe, by default
_KINDS = "values, choice, uniform, log_uniform, int"
# Keys that only some methods use.
_ONLY_OF = {
    "trials": ("random", "sobol", "tpe", "asha"),
    "seed": ("random", "sobol", "tpe", "asha"),
    "min_epochs": ("asha",),
    "reduction_factor": ("asha",),
}


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

    @property
    def extremes(self) -> list[Any]:
        """All values of a list, or both ends of a range."""
        if (listed := self.listed) is not None:
            return listed
        ends = self.integer or self.uniform or self.log_uniform
        return list(ends or ())

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
    that cover the ranges evenly (Sobol, 1967). ``list``: the points under ``points``. ``tpe``:
    draws where the points that have ended were good (Bergstra et al., 2011). ``asha``: random
    draws, of which those that lag are ended early (Li et al., 2020)."""
    parameters: dict[str, Parameter] = {}
    """The settings that vary, by their dotted keys."""
    points: list[dict[str, Any]] = []
    """For ``list``: the settings of each point."""
    repeats: int = Field(1, ge=1, le=1000)
    """Runs of each point, with consecutive seeds. A point is judged by their mean."""
    trials: int | None = Field(None, ge=1, le=100_000)
    """The number of points of all methods but ``grid`` and ``list``."""
    seed: int = Field(0, ge=0)
    """Seed of the draws."""
    objective: str = DEFAULT_OBJECTIVE
    """The metric that ranks the points, best first."""
    parallel: int | None = Field(None, ge=1)
    """Most runs at the same time; by default as many as the cluster starts, or as fit on the CPU
    cores of this machine. With ``tpe`` a tenth of the trials, but at least 4: it learns from those
    that have ended."""
    per_task: int = Field(1, ge=1)
    """Runs that one task of the job array does, one after another."""
    side_by_side: bool = False
    """Train the runs of one task at the same time on one GPU, which suits small networks. A task
    requests the CPU cores and the memory of all of its runs. No effect without Slurm."""

    min_epochs: int = Field(1, ge=1)
    """For ``asha``: epochs after which a run is compared with the others for the first time."""
    reduction_factor: int = Field(4, ge=2)
    """For ``asha``: one of so many runs goes on, to this multiple of the epochs."""

    @property
    def adaptive(self) -> bool:
        """Whether the points are chosen when their tasks start."""
        return self.method in ADAPTIVE

    @property
    def at_once(self) -> int | None:
        """Runs at the same time, at most; ``None`` for as many as possible."""
        if self.parallel is None and self.method == "tpe":
            return max(_LEAST_AT_ONCE, (self.trials or 0) // 10)
        return self.parallel

    @property
    def tasks_at_once(self) -> int | None:
        """Tasks of the job array at the same time, at most; ``None`` for as many as possible."""
        if self.at_once is None or not self.side_by_side:
            return self.at_once
        return max(1, self.at_once // self.per_task)

    @field_validator("parameters")
    @classmethod
    def _swept_keys(cls, parameters: dict[str, Parameter]) -> dict[str, Parameter]:
        for key in parameters:
            check_key(key)
        return parameters

    @model_validator(mode="after")
    def _fits_the_method(self) -> SweepConfig:
        for key, methods in _ONLY_OF.items():
            if key in self.model_fields_set and self.method not in methods:
                raise ValueError(f"{key} has no effect with method {self.method}; it belongs to {', '.join(methods)}")
        if self.side_by_side and self.per_task < 2:
            raise ValueError("side_by_side needs per_task, the number of runs that share a GPU: 2 or more")
        if self.side_by_side and self.parallel is not None and self.parallel < self.per_task:
            raise ValueError(
                f"side_by_side starts all {self.per_task} runs of a task (per_task) at the same time, "
                f"but parallel allows only {self.parallel}"
            )
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
        if self.method != "grid" and self.trials is None:
            raise ValueError(f"method {self.method} needs trials, the number of points")
        if self.method == "asha" and self.repeats > 1:
            raise ValueError("method asha needs repeats: 1, since it compares single runs while they train")
        if self.adaptive and (fixed := next((key for key in self.parameters if key in _NOT_CHOSEN_LATE), None)):
            raise ValueError(f"method {self.method} cannot vary {fixed}, which is opened before the start: use grid")
        return self


def check_key(key: str) -> None:
    """Check that a setting may vary in a sweep.

    Raises:
        ValueError: it says how a run is executed, or has a key of its own.
    """
    if any(key == name or key.startswith(f"{name}.") for name in _NOT_SWEPT):
        remedy = "use repeats" if key == "seed" else "it is the same for all runs of a sweep"
        raise ValueError(f"{key} cannot vary in a sweep: {remedy}")
