"""A module whose steps take as long as its width says, and that measures how long they take."""

from __future__ import annotations

import statistics
import time
import timeit
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from hpc_dl.data.spec import DataSpec

STEPS_PER_INTERVAL = 50  # as many as one row of the journal covers
#: Seconds per step of each interval of the training.
INTERVALS: list[dict[str, float]] = []
#: Seconds per step of each part of hpc_dl's machinery, in the last training that had it.
PARTS: dict[str, float] = {}


class TimedModule(pl.LightningModule):
    """A regression by three dense layers."""

    def __init__(self, data: DataSpec, width: int, skip: int = 20, measure: int = 100, ballast: int = 0) -> None:
        """Build the layers.

        Args:
            data: shapes.
            width: units of the hidden layers; determines the duration of a step.
            skip: steps before the measured ones.
            measure: measured steps, a multiple of 50.
            ballast: additional bytes in each checkpoint.
        """
        super().__init__()
        (features,) = data.input_shape
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        self.register_buffer("ballast", torch.zeros(ballast, dtype=torch.uint8))
        self._skip, self._last = skip, skip + measure
        self._interval_start = (0.0, 0.0)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layers(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step - self._skip
        if step < 0 or step % STEPS_PER_INTERVAL or self.trainer.global_step > self._last:
            return
        now = (time.perf_counter(), time.process_time())
        if step:
            wall, cpu = (
                (end - start) / STEPS_PER_INTERVAL for end, start in zip(now, self._interval_start, strict=True)
            )
            INTERVALS.append({"wall": wall, "cpu": cpu})
        self._interval_start = now

    def on_train_epoch_end(self) -> None:
        """Time the parts by calling them as a step does; all ranks do so together."""
        callbacks: dict[str, Any] = {
            type(callback).__name__: callback
            for callback in self.trainer.callbacks  # type: ignore[attr-defined]
        }
        if "Watchdog" not in callbacks:
            return
        watchdog, metrics, progress = callbacks["Watchdog"], callbacks["TrainingMetrics"], callbacks["PlainProgress"]
        batch = [torch.zeros(1), torch.zeros(1)]
        arguments = (self.trainer, self)
        loss = torch.tensor(1.0)

        def heartbeats() -> None:
            watchdog.on_train_batch_start(*arguments, batch, 0)
            watchdog.on_before_backward(*arguments, loss)
            watchdog.on_after_backward(*arguments)
            watchdog.on_train_batch_end(*arguments, loss, batch, 0)

        def add_metrics() -> None:
            metrics.on_train_batch_end(*arguments, {"loss": loss}, batch, 0)

        loop: Any = self.trainer.fit_loop.epoch_loop
        PARTS["boundary: flags of all ranks, time limit, next checkpoint"] = _seconds(loop._at_boundary)
        PARTS["watchdog: 4 notes"] = _seconds(heartbeats)
        metrics._logged_step = self.trainer.global_step  # so that no row is due
        PARTS["training metrics: loss and samples added up"] = _seconds(add_metrics)
        add_metrics()
        PARTS["one row in the journal, divided by 50"] = (
            _seconds(lambda: metrics._write(self.trainer), 200) / STEPS_PER_INTERVAL
        )
        PARTS["line of progress"] = _seconds(lambda: progress.on_train_batch_end(*arguments, loss, batch, 0))


def _seconds(work: Callable[[], Any], times: int = 1000) -> float:
    return statistics.median(timeit.repeat(work, number=times, repeat=5)) / times
