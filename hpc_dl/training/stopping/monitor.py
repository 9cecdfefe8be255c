"""The monitored metric: its value selects the best weights and drives early stopping."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytorch_lightning as pl

from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.errors import ConfigError
from hpc_dl.learning.direction import Direction, direction, known_direction
from hpc_dl.learning.metric_names import split_and_metric, split_of, words

_LOADER = re.compile(r"/dataloader_idx_(\d+)$")


class Monitor:
    """Finds the value of ``checkpoint.monitor`` after each validation.

    ``auto`` is decided by the names that the first validation logs: the loss of the validation,
    else another loss of it, else a metric whose direction is known.

    Attributes:
        name: the metric; ``None`` for ``auto`` before it is decided.
        mode: whether small or large values are better.
    """

    def __init__(self, config: CheckpointConfig, say: Callable[[str], None], *, required: bool) -> None:
        """Decide nothing yet.

        Args:
            config: the ``checkpoint`` section.
            say: shows the user one line.
            required: whether the training needs a value, as early stopping does.
        """
        self._config = config
        self._say = say
        self._required = required
        self._searched = False
        self._not_finite: set[str] = set()
        self.name: str | None = None if config.monitor == "auto" else config.monitor
        self.mode: Direction = config.direction

    def value(self, trainer: pl.Trainer) -> float | None:
        """The value that the validation which just ended has logged.

        Returns:
            ``None`` where ``auto`` finds no metric to monitor.

        Raises:
            ConfigError: the metric was not logged, or early stopping has nothing to monitor.
        """
        if self.name is None and not self._searched:
            self._search(trainer)
        self._report_not_finite(trainer)
        if self.name is None:
            return None
        logged = trainer.callback_metrics.get(self.name)
        if logged is None:
            raise ConfigError.at(
                "checkpoint.monitor",
                f"was not logged by {type(trainer.lightning_module).__name__} in its first validation",
                value=self.name,
                allowed=", ".join(["auto", *sorted(trainer.callback_metrics)]),
                remedy="choose one of these, or log it with self.log in validation_step",
            )
        return float(logged)

    def set(self, name: str | None) -> None:
        """Monitor this metric from now on, as decided before a checkpoint was saved."""
        if name is not None:
            self.name = name
            self.mode = direction(name, self._config.mode)

    def _report_not_finite(self, trainer: pl.Trainer) -> None:
        """Report once for each metric of the validation that it is NaN or infinite."""
        values = {name: float(trainer.callback_metrics[name]) for name in _logged_in_validation(trainer)}
        for name, value in values.items():
            # Of the monitored one, NaN is reported where the best weights are chosen.
            if math.isfinite(value) or name in self._not_finite or (name == self.name and math.isnan(value)):
                continue
            self._not_finite.add(name)
            self._say(f"{name} is {value} in the validation at step {trainer.global_step}.")

    def _search(self, trainer: pl.Trainer) -> None:
        self._searched = True
        names = _logged_in_validation(trainer)
        found = choose(names)
        if found is not None:
            self.set(found)
            if found != "val/loss":
                best = "lowest" if self.mode == "min" else "highest"
                self._say(f"The best weights are those with the {best} {found} (checkpoint.monitor: auto).")
        elif self._required:
            raise ConfigError.at(
                "trainer.early_stopping",
                f"{type(trainer.lightning_module).__name__} logs no validation loss to monitor",
                value="auto",
                allowed=", ".join(sorted(names)) or "it logs nothing in its validation",
                remedy="name the metric with checkpoint.monitor and checkpoint.mode",
            )
        else:
            self._say(
                "The validation logs no loss: the last weights count as the best ones. To select them by another "
                "metric, set checkpoint.monitor and checkpoint.mode."
            )


def choose(names: list[str]) -> str | None:
    """Choose the metric to monitor among those of a validation; ``None`` if none is suitable."""
    ranked = sorted((rank, name) for name in names if (rank := _rank(name)) is not None)
    return ranked[0][1] if ranked else None


def _rank(name: str) -> tuple[int, int, int] | None:
    """The place of a name in the order of preference: by kind, then by loader, then by length."""
    metric = _LOADER.sub("", split_and_metric(name)[1])
    parts = [word for word in words(metric) if word not in ("total", "avg", "mean", "epoch")]
    loader = _LOADER.search(name)
    if "step" in words(metric):
        return None
    if parts == ["loss"]:
        kind = 0
    elif parts[-1:] == ["loss"]:
        kind = 1
    elif (known := known_direction(metric)) is not None:
        kind = 2 if known == "min" else 3
    else:
        return None
    return kind, int(loader[1]) if loader else 0, len(metric)


def _logged_in_validation(trainer: pl.Trainer) -> list[str]:
    """The metrics whose name belongs to the validation; without any, those that it has logged."""
    names = list(trainer.callback_metrics)
    if of_validation := [name for name in names if split_of(name) == "val"]:
        return of_validation
    results = trainer.fit_loop.epoch_loop.val_loop._results
    logged = {value.meta.name for value in results.values() if "validation" in value.meta.fx}
    return [name for name in names if split_of(name) is None and _LOADER.sub("", name) in logged]
