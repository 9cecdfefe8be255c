"""The ``checkpoint`` section: how often checkpoints are saved, and which one is the best."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from hpc_dl.learning.direction import Direction, Mode, direction
from hpc_dl.schema import Section

_INTERVAL = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>s|min|h|steps?)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


class CheckpointConfig(Section):
    """How often checkpoints are saved, and which one is the best.

    The best checkpoint is evaluated on the test split at the end. The newest one is used to resume.
    """

    every: Annotated[str, Field(validate_default=True)] = "auto"
    """Longest interval between two checkpoints, which is the most work that a crash can lose:
    ``500 steps``, ``30 s``, ``10 min`` or ``1 h``. ``auto``: one minute, or longer if saving takes
    more than 2% of the time; after a kill without a warning, the interval that loses the least
    time with as many kills as the run has had."""
    monitor: str = "auto"
    """Metric that selects the best checkpoint. ``auto``: the loss of the validation, ``val/loss``
    for the shipped architectures; for your own module the one it logs (``val_loss``,
    ``valid/loss``), or else another validation metric whose name says what is better."""
    mode: Mode = "auto"
    """Whether a smaller (``min``) or larger (``max``) value of ``monitor`` is better. ``auto``
    decides by the name of the metric."""

    @field_validator("every")
    @classmethod
    def _every(cls, value: str) -> str:
        match = _INTERVAL.fullmatch(value.strip())
        if value != "auto" and (match is None or float(match["amount"]) == 0):
            raise ValueError("must be `auto` or an interval with its unit: `500 steps`, `30 s`, `10 min`, `1 h`")
        if match and match["unit"].startswith("step") and not match["amount"].isdigit():
            raise ValueError("must be a whole number of steps")
        return value

    @property
    def direction(self) -> Direction:
        """Whether smaller or larger values of the monitored metric are better.

        Raises:
            ValueError: ``mode`` is ``auto`` and the metric is unknown. The preflight checks this.
        """
        return direction("val/loss" if self.monitor == "auto" else self.monitor, self.mode)

    @property
    def every_steps(self) -> int | None:
        """Steps between two checkpoints; ``None`` if the interval is a time."""
        match = _INTERVAL.fullmatch(self.every.strip())
        return int(match["amount"]) if match and match["unit"].startswith("step") else None

    @property
    def every_seconds(self) -> float | None:
        """Seconds between two checkpoints; ``None`` if the interval is in steps or ``auto``."""
        match = _INTERVAL.fullmatch(self.every.strip())
        return float(match["amount"]) * _SECONDS[match["unit"]] if match and match["unit"] in _SECONDS else None
