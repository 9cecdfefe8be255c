"""When a training that no longer gets better is ended: early stopping (Prechelt, 1998)."""

from __future__ import annotations

import math
from typing import Any, Literal

from hpc_dl.config.trainer import EarlyStopping


class Patience:
    """Counts the validations in a row without an improvement; all ranks count alike."""

    def __init__(self, config: EarlyStopping, mode: Literal["min", "max"]) -> None:
        """Begin to count.

        Args:
            config: how many, and what is an improvement.
            mode: whether a small or a large value is good.
        """
        self._config = config
        self._sign = 1.0 if mode == "min" else -1.0
        self._best = math.inf
        self._waited = 0

    @property
    def ran_out(self) -> bool:
        """Whether there were as many validations without an improvement as are allowed."""
        return self._waited >= self._config.patience

    def consider(self, value: float) -> None:
        """Count a validation; NaN is no improvement."""
        if self._sign * value < self._best - self._config.min_delta:
            self._best, self._waited = self._sign * value, 0
        else:
            self._waited += 1

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting."""
        self._best, self._waited = state["best"], state["waited"]
