"""Measures what an attempt spends its time on, from which the goodput of a run follows."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import psutil
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.errors import HpcDlError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.phase_times import PHASES, PhaseTimes, number_of_starts
from hpc_dl.runs.run_files import read_job

_INTERVAL_S = 10.0
_KEPT = 3  # checkpoints: an attempt resumes from one of the newest two


class PhaseTimer(Callback):
    """Adds up the time of each phase on one rank; rank 0 writes them into the run folder.

    A step costs two readings of the clock. The first step belongs to the start, because caches
    fill and kernels are chosen or compiled in it. Waiting for data is the time from the end of a
    step until the next batch is there; on a GPU, which computes meanwhile, this is an upper bound.

    Attributes:
        start: number of this start of the run, from 0.
    """

    def __init__(self, run: RunFolder, attempt: int) -> None:
        """Start in the phase ``start_up``, which began with the process.

        Args:
            run: the run.
            attempt: number of the attempt, from 0.
        """
        self._run = run
        self._attempt = attempt
        self._started = _start_of_attempt(run)
        self._from_step: int | None = None
        self.start = number_of_starts(run.usage)
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._saved: list[tuple[int, float, float]] = []
        self._phase = "start_up"
        self._since = time.perf_counter() - (time.time() - self._started)
        self._has_stepped = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def start_writing(self) -> None:
        """Write the file of this attempt every few seconds, until :meth:`close`."""
        self.write()
        self._thread = threading.Thread(target=self._keep_writing, name="phase times", daemon=True)
        self._thread.start()

    def resumes_from(self, step: int) -> None:
        """Record the step from which the attempt resumes."""
        self._from_step = step
        if self._thread is not None:
            self.write()

    def waited_s(self) -> float:
        """Seconds of waiting for data so far."""
        return self._seconds["data"]

    def enter(self, phase: str) -> None:
        """End the present phase and begin another one."""
        now = time.perf_counter()
        self._seconds[self._phase] += now - self._since
        self._since = now
        self._phase = phase

    @contextmanager
    def spending(self, phase: str) -> Iterator[None]:
        """Count the time within this context as that of a phase."""
        before = self._phase
        self.enter(phase)
        try:
            yield
        finally:
            self.enter(before)

    @contextmanager
    def writing(self, kind: str, step: int) -> Iterator[None]:
        """Count the time within this context as that of a checkpoint.

        Args:
            kind: ``step`` for a checkpoint to resume from.
            step: optimizer steps done.
        """
        with self.spending("checkpoints"):
            if kind == "step":
                saved = (step, round(self._seconds["training"], 3), round(self._seconds["data"], 3))
                self._saved = [*self._saved, saved][-_KEPT:]
            yield
        if self._thread is not None:  # an attempt that is killed next resumes from here
            self.write()

    def write(self) -> None:
        """Write the file of this attempt now; a full disk must not end the training."""
        now, phase = time.perf_counter(), self._phase
        seconds = {**self._seconds, phase: self._seconds[phase] + now - self._since}
        times = PhaseTimes(
            start=self.start,
            attempt=self._attempt,
            job=_job(os.environ),
            allocated=_allocated(os.environ),
            started=round(self._started, 3),
            time=round(time.time(), 3),
            from_step=self._from_step,
            phase=phase,
            seconds={name: round(value, 3) for name, value in seconds.items()},
            saved=tuple(self._saved),
        )
        with suppress(OSError):
            times.write(self._run.usage)

    def finish(self) -> None:
        """Begin the end of the attempt; what W&B reports of its time must be in the file now."""
        self.enter("end")
        if self._thread is not None:
            self.write()

    def close(self) -> None:
        """Write the file for the last time."""
        if self._thread is not None:
            self._closed.set()
            self._thread.join(_INTERVAL_S)  # on a file system that hangs, it may not end
            self.write()

    def _keep_writing(self) -> None:
        while not self._closed.wait(_INTERVAL_S):
            self.write()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Everything is restored; the first step still belongs to the start."""
        self.enter("start_up")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Wait for the first batch."""
        if self._has_stepped:
            self.enter("data")

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """A batch has arrived."""
        if self._has_stepped:
            self.enter("training")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Wait for the next batch."""
        self._has_stepped = True
        self.enter("data")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """No batch is requested until the next epoch starts."""
        self.enter("training")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Validate, unless this is only the check before the training."""
        if not trainer.sanity_checking:
            self.enter("validation")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on with the training."""
        if not trainer.sanity_checking:
            self.enter("data")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Everything that follows but the test does not advance the training."""
        self.enter("end")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the test as a validation."""
        self.enter("validation")

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """The test is done."""
        self.enter("end")


def _start_of_attempt(run: RunFolder) -> float:
    """When this process started; if it does more than this run, when the run was launched."""
    now = time.time()
    with suppress(HpcDlError, OSError, LookupError, TypeError, ValueError):
        launched = datetime.fromisoformat(read_job(run)["submitted"]).timestamp()
        return min(now, max(launched, float(psutil.Process().create_time())))
    return now


def _job(environment: Mapping[str, str]) -> str:
    """The job that this process runs in, as Slurm names it."""
    if number := environment.get("SLURM_ARRAY_JOB_ID"):
        return f"{number}_{environment.get('SLURM_ARRAY_TASK_ID', '')}"
    return environment.get("SLURM_JOB_ID", "")


def _allocated(environment: Mapping[str, str]) -> float | None:
    start_time = environment.get("SLURM_JOB_START_TIME", "")
    return float(start_time) if start_time.isdigit() else None
