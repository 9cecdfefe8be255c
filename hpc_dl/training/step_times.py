"""How long the steps of a training wait for data and for communication: ``trainer.step_times``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.strategies import DDPStrategy
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from hpc_dl.atomic_files import write_json
from hpc_dl.runs.folder import RunFolder

_SKIPPED = 0.2  # of the steps, at the start: caches fill, algorithms are chosen


def step_times_file(run: RunFolder) -> Path:
    """The file with what a run has measured."""
    return run.path / "step-times.json"


class StepTimes(Callback):
    """Measures rank 0: the time of a step, and the parts in which it waits.

    Waiting for data is the time from the end of a step until the next batch is on the device.
    Waiting for communication is the time from the moment at which this rank's own gradients are
    complete until those of all ranks have been averaged; the part that overlaps with the backward
    pass costs nothing and does not count, that for slower ranks does. The device is synchronized
    once per step.
    """

    def __init__(self, path: Path) -> None:
        """Measure into a file.

        Args:
            path: gets ``steps``, the median ``step_s``, and the shares ``data`` and
                ``communication`` of the time.
        """
        self._path = path
        self._steps: list[tuple[float, float, float]] = []  # seconds: in total, for data, for communication
        self._ended = self._fetched = 0.0
        self._elapsed: Callable[[], float] = lambda: 0.0  # since the own gradients were complete
        self._communication: Callable[[], float] = lambda: 0.0
        self._device = torch.device("cpu")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Register the hook that notices when the gradients of a step are complete."""
        self._device = trainer.strategy.root_device
        if isinstance(trainer.strategy, DDPStrategy) and trainer.world_size > 1:
            trainer.strategy.model.register_comm_hook(None, lambda _, bucket: self._average(bucket))  # type: ignore[union-attr,operator]
        self._ended = self._now()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Take the time at which the batch has arrived."""
        self._fetched = self._now()
        self._communication = lambda: 0.0

    def on_after_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the time at which the gradients have been averaged."""
        self._communication = self._elapsed_until_now()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a step."""
        now = self._now()
        self._steps.append((now - self._ended, self._fetched - self._ended, self._communication()))
        self._elapsed = lambda: 0.0
        self._ended = now

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the validation out."""
        self._ended = self._now()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the file."""
        kept = self._steps[int(_SKIPPED * len(self._steps)) :]
        if trainer.is_global_zero and kept:
            total, data, communication = (sum(part) for part in zip(*kept, strict=True))
            with suppress(OSError):  # the training has succeeded
                write_json(
                    self._path,
                    {
                        "steps": len(kept),
                        "step_s": statistics.median(step for step, _, _ in kept),
                        "data": data / total,
                        "communication": communication / total,
                    },
                )

    def _average(self, bucket: Any) -> torch.futures.Future[torch.Tensor]:
        """Do what DDP does without a hook; the last call is when the gradients are complete."""
        self._elapsed = self._clock()
        return allreduce_hook(None, bucket)  # type: ignore[arg-type]

    def _clock(self) -> Callable[[], float]:
        """Return a function of the seconds since now, on the device's own timeline."""
        if self._device.type != "cuda":
            start = time.perf_counter()
            return lambda: time.perf_counter() - start
        before: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        before.record()

        def elapsed() -> float:
            after: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
            after.record()
            after.synchronize()
            return float(before.elapsed_time(after)) / 1000

        return elapsed

    def _elapsed_until_now(self) -> Callable[[], float]:
        seconds = self._elapsed()
        return lambda: seconds

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
