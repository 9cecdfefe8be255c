"""The watchdog: it ends a training without progress and names the rank that holds it up.

A rank that hangs or vanishes holds up all others: they wait for it in their next collective, where
torch gives up after half an hour and names the rank that waited. Here each rank records its
progress, and a thread (:mod:`stall_monitor`) checks whether that still changes. A rank without
progress writes where it is to ``RUN/heartbeats/rank-N.json`` every few seconds; a rank that makes
progress writes there once in a tenth of the timeout. After the timeout, the lowest rank that still
can compares these files (:mod:`stall_verdict`), writes the verdict into the run's state, and exits
with status 1; srun or our launcher then ends the others.

Intended long work (a large checkpoint, a custom epoch end) must fit into the timeout; compiling may
take six times as long. Time in which the process itself could not run, as when Slurm suspends a
job, does not count. A file system that hangs for all ranks ends nothing; when it works again, the
training continues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.stopping.heartbeat import Progress
from hpc_dl.training.stopping.stall_monitor import StallMonitor


def _recording_hook(boundary: str, batch_argument: int | None = None, *, minor: bool = False) -> Callable[..., None]:
    """Return a hook that only records that it was called.

    Args:
        boundary: the boundary, as text.
        batch_argument: position of the batch index among the hook's arguments.
        minor: whether this boundary lies within a training batch, or is passed as often as this
            rank has evaluation batches.
    """

    def hook(watchdog: Watchdog, *arguments: Any) -> None:
        watchdog._record(boundary, None if batch_argument is None else arguments[batch_argument], minor=minor)

    return hook


class Watchdog(Callback):
    """Ends the run when this rank has made no progress for too long. Must be the first callback.

    It watches while it is entered as a context, from before the data are opened, since ranks wait
    for each other from the moment at which they meet::

        with Watchdog(run, rank, world_size, timeout_s=600) as watchdog:
            with watchdog.phase("opening the data"):
                ...
            Trainer(callbacks=[watchdog, ...]).fit(...)
    """

    def __init__(self, run: RunFolder, rank: int, world_size: int, timeout_s: float | None) -> None:
        """Store what to watch; nothing is started or written yet.

        Args:
            run: the run folder; its state and logs get the verdict.
            rank: number of this process.
            world_size: number of processes.
            timeout_s: seconds without progress that end the run; ``None`` for never.
        """
        self._run = run
        self._rank = rank
        self._world_size = world_size
        self._timeout_s = timeout_s
        self._progress = Progress(0, 0, "before the training")
        self._monitor: StallMonitor | None = None

    def __enter__(self) -> Self:
        """Start watching the calling thread."""
        if self._timeout_s is not None:
            self._monitor = StallMonitor(
                self._run, self._rank, self._world_size, self._timeout_s, lambda: self._progress
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching and delete the heartbeat."""
        if self._monitor is not None:
            self._monitor.stop()

    @contextmanager
    def phase(self, description: str, patience: float = 1.0) -> Iterator[None]:
        """Name long work outside of the batches; its start and its end count as progress.

        One rank may have phases that another does not have.

        Args:
            description: the work, such as ``writing a checkpoint``.
            patience: factor by which the phase may exceed the timeout.
        """
        self._progress = self._progress._replace(phase=description, patience=patience)
        try:
            yield
        finally:
            self._progress = self._progress._replace(phase="", patience=1.0)

    def advance(self) -> None:
        """Record progress within a phase, such as another part of a large file."""
        self._progress = self._progress._replace()

    def _record(self, boundary: str, batch: int | None = None, *, minor: bool = False) -> None:
        major, minor_count, _, last_batch, epoch, *_ = self._progress
        if minor:
            self._progress = Progress(major, minor_count + 1, boundary, last_batch if batch is None else batch, epoch)
        else:
            self._progress = Progress(major + 1, 0, boundary, batch, epoch)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Record the start of a stage."""
        self._progress = self._progress._replace(epoch=0)
        self._record(f"in the setup of {stage}")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Record the start of an epoch, and its number."""
        self._progress = self._progress._replace(epoch=trainer.current_epoch + 1)
        self._record("at the start")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Record why the training ends, in case that ending hangs."""
        self._progress = self._progress._replace(phase=f"ending with {type(exception).__name__}: {exception};")

    # Called in each step: a few assignments, and nothing else.
    on_fit_start = _recording_hook("before the first epoch")
    on_train_batch_start = _recording_hook("in train batch", 3)
    # Ranks wait for each other in the backward pass: a rank that has not reached it holds them up.
    on_before_backward = _recording_hook("in the backward pass of train batch", minor=True)
    on_after_backward = _recording_hook("after the backward pass of train batch", minor=True)
    on_train_batch_end = _recording_hook("after train batch", 4)
    on_train_epoch_end = _recording_hook("at the end")
    on_validation_start = _recording_hook("at the start of the validation")
    on_validation_batch_start = _recording_hook("in validation batch", 3, minor=True)
    on_validation_batch_end = _recording_hook("after validation batch", 4, minor=True)
    on_validation_epoch_end = _recording_hook("at the end of the validation")
    on_test_start = _recording_hook("at the start of the test")
    on_test_batch_start = _recording_hook("in test batch", 3, minor=True)
    on_test_batch_end = _recording_hook("after test batch", 4, minor=True)
    on_test_epoch_end = _recording_hook("at the end of the test")
