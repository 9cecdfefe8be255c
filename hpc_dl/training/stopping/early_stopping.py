"""Early stopping: ends a training that no longer improves (Prechelt, 1998)."""

from __future__ import annotations

import math
from typing import Any, Literal

from hpc_dl.config.trainer import EarlyStopping


class Patience:
    """Counts the validations in a row without an improvement; all ranks count alike."""

    def __init__(self, config: EarlyStopping, mode: Literal["min", "max"]) -> None:
        """Start at zero.

        Args:
            config: the number of validations, and the smallest improvement.
            mode: whether small or large values are better.
        """
        self._config = config
        self._mode = mode
        self._best = math.inf
        self._waited = 0

    @property
    def ran_out(self) -> bool:
        """Whether as many validations as allowed brought no improvement."""
        return self._waited >= self._config.patience

    def consider(self, value: float, mode: Literal["min", "max"] | None = None) -> None:
        """Count a validation; NaN is not an improvement.

        Args:
            value: of the monitored metric.
            mode: replaces that of the start, once it is known which metric is monitored.
        """
        signed = value if (mode or self._mode) == "min" else -value
        if signed < self._best - self._config.min_delta:
            self._best, self._waited = signed, 0
        else:
            self._waited += 1

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint, in plain values."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        self._best, self._waited = state["best"], state["waited"]
