"""A module whose steps take about as long as one wishes, and that notes when they are taken."""

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

#: Time per step, in seconds, of every 50 steps of the training: as many as there are for one row of
#: the journal.
STEPS: list[dict[str, float]] = []
CHUNK = 50
#: Time of each part of the machinery in a step, in seconds, of the last training that had it.
PARTS: dict[str, float] = {}


class Stepping(pl.LightningModule):
    """Two dense layers of some width."""

    def __init__(self, data: DataSpec, width: int, skip: int = 20, measure: int = 100, ballast: int = 0) -> None:
        """Build the layers.

        Args:
            data: shapes.
            width: units of the hidden layers; it makes the step as long as it is.
            skip: steps before the measured ones.
            measure: steps that are measured, a multiple of 50.
            ballast: further bytes in each checkpoint.
        """
        super().__init__()
        (features,) = data.input_shape
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
        )
        self.register_buffer("ballast", torch.zeros(ballast, dtype=torch.uint8))
        self._skip, self._last = skip, skip + measure
        self._began = (0.0, 0.0)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layers(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        step = self.trainer.global_step - self._skip
        if step < 0 or step % CHUNK or self.trainer.global_step > self._last:
            return
        now = (time.perf_counter(), time.process_time())
        if step:
            STEPS.append({"wall": (now[0] - self._began[0]) / CHUNK, "cpu": (now[1] - self._began[1]) / CHUNK})
        self._began = now

    def on_train_epoch_end(self) -> None:
        """Time the parts, called as in a step; the ranks do so together."""
        own = {type(callback).__name__: callback for callback in self.trainer.callbacks}  # type: ignore[attr-defined]
        if "Watchdog" not in own:
            return
        watchdog, metrics, progress = own["Watchdog"], own["TrainingMetrics"], own["PlainProgress"]
        batch = [torch.zeros(1), torch.zeros(1)]
        given = (self.trainer, self)
        loss = torch.tensor(1.0)

        def beat() -> None:
            watchdog.on_train_batch_start(*given, batch, 0)
            watchdog.on_before_backward(*given, loss)
            watchdog.on_after_backward(*given)
            watchdog.on_train_batch_end(*given, loss, batch, 0)

        def sum_up() -> None:
            metrics.on_train_batch_end(*given, {"loss": loss}, batch, 0)

        loop = self.trainer.fit_loop.epoch_loop
        PARTS["boundary: flags of all ranks, time limit, next checkpoint"] = _seconds(loop._at_boundary)
        PARTS["watchdog: 4 notes"] = _seconds(beat)
        metrics._logged_step = self.trainer.global_step  # no row is due
        PARTS["training metrics: loss and samples added up"] = _seconds(sum_up)
        sum_up()
        PARTS["one row in the journal, divided by 50"] = _seconds(lambda: metrics._write(self.trainer), 200) / 50
        PARTS["line of progress"] = _seconds(lambda: progress.on_train_batch_end(*given, loss, batch, 0))


def _seconds(work: Callable[[], Any], times: int = 1000) -> float:
    return statistics.median(timeit.repeat(work, number=times, repeat=5)) / times
