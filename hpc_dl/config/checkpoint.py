"""The ``checkpoint`` section: which of the checkpoints counts as the best."""

from __future__ import annotations

from typing import Literal

from hpc_dl.schema import Section


class CheckpointConfig(Section):
    """The best checkpoint is the one that is tested at the end; the last is the one to go on from."""

    monitor: str = "val/loss"
    """Metric that decides which checkpoint is the best."""
    mode: Literal["min", "max"] = "min"
    """Whether less or more of it is better."""
