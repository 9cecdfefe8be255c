"""The ``checkpoint`` section: how much work a crash may cost, and which of the checkpoints counts
as the best.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from hpc_dl.learning.direction import Direction, Mode, direction
from hpc_dl.schema import Section

_INTERVAL = re.compile(r"(?P<amount>\d+(?:\.\d+)?)\s*(?P<unit>s|min|h|steps?)")
_SECONDS = {"s": 1.0, "min": 60.0, "h": 3600.0}


class CheckpointConfig(Section):
    """The best checkpoint is the one that is tested at the end; the newest is the one to go on
    from.
    """

    every: Annotated[str, Field(validate_default=True)] = "auto"
    """Save at least every so often (``500 steps``, ``30 s``, ``10 min``, ``1 h``): what a job that
    dies without a warning loses. ``auto``: every minute, or less often where a checkpoint costs
    more than 2 % of that."""
    monitor: str = "val/loss"
    """Metric that decides which checkpoint is the best."""
    mode: Mode = "auto"
    """Whether less (``min``) or more (``max``) of it is better; ``auto``: as its name tells."""

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
        """Whether less or more of the monitored metric is better.

        Raises:
            ValueError: its name does not tell; the preflight refuses such a section.
        """
        return direction(self.monitor, self.mode)

    @property
    def every_steps(self) -> int | None:
        """Steps between two checkpoints; ``None`` where time decides."""
        match = _INTERVAL.fullmatch(self.every.strip())
        return int(match["amount"]) if match and match["unit"].startswith("step") else None

    @property
    def every_seconds(self) -> float | None:
        """Seconds between two checkpoints; ``None`` where steps or the measured cost decide."""
        match = _INTERVAL.fullmatch(self.every.strip())
        return float(match["amount"]) * _SECONDS[match["unit"]] if match and match["unit"] in _SECONDS else None
