"""Ends a training in which nothing moves any more, and names the rank that holds it up.

A rank that hangs or vanishes holds up all others: they wait for it in their next collective, where
torch gives up after half an hour and names the one that waited. Here each rank notes what it has
passed, and a thread of its own looks whether that still changes. A rank without progress tells
where it is in ``RUN/heartbeats/rank-N.json``, every few seconds; one that works writes there once
in a tenth of the timeout. When the timeout is over, the lowest rank that still can compares these
files, writes the verdict into the run's state, and leaves with status 1: srun, or our launcher,
ends the others. Nothing goes through torch: the network, or rank 0 with its store, may be what is
stuck.

What takes long by intention (a large checkpoint, a custom epoch end) must fit into the timeout;
compiling has six times as long. Time in which the process itself could not run, as when Slurm
suspends a job, does not count. A file system that hangs for all ranks ends nothing; when it is
back, the training goes on.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NamedTuple, Self

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import record_failure

_LOOK_S = 10.0  # between two looks at the own progress; less where the timeout is short
_LOOKS_IN_TIMEOUT = 30
_BEATS_IN_TIMEOUT = 10  # heartbeats of a rank that makes progress: few, each is work for a parallel file system
_WATCHED, _WATCHED_S = 0.25, 2.0  # share of the timeout, and least seconds, after which one without heartbeat is silent
_TURNS = 20  # ranks take turns with the verdict: a thousand must not read a thousand files each
_LAST_WORDS_S = 30.0  # for writing the verdict: the disk, or whoever reads stderr, may be what hangs
# Who is in one of these waits for other ranks.
_COLLECTIVES = (
    "torch/distributed/distributed_c10d.py",
    "torch/distributed/rendezvous.py",
    "hpc_dl/training/stopping/rank_group.py",
)
_LOADERS = {"torch/utils/data/dataloader.py": "__next__", "hpc_dl/data/batches/loader.py": "__iter__"}
# Ranks that were started together share these; an earlier attempt had others: Slurm's step, our
# launcher's port.
_ATTEMPT = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID", "MASTER_PORT")


class _Place(NamedTuple):
    """What a rank has passed last. Each note is an object of its own: another one means progress.

    Attributes:
        major: boundaries that all ranks pass equally often: training batches, epochs.
        minor: those passed since: evaluation batches, of which a rank may have more than another.
        what: the boundary, for people.
        batch: number of the batch from 0, where there is one.
        epoch: number of the epoch from 1; 0 outside of all.
        phase: long work outside of the batches, for people; it may take ``patience`` times the
            timeout.
    """

    major: int
    minor: int
    what: str
    batch: int | None = None
    epoch: int = 0
    phase: str = ""
    patience: float = 1.0

    def __str__(self) -> str:
        batch = "" if self.batch is None else f" {self.batch + 1}"
        epoch = f" of epoch {self.epoch}" if self.epoch else ""
        return f"{self.phase}{' ' * bool(self.phase)}{self.what}{batch}{epoch}"


@dataclass(frozen=True)
class Heartbeat:
    """What one rank tells the others, in its file.

    Attributes:
        rank: whose it is.
        attempt: what all ranks of one attempt share; another attempt's files are ignored.
        host: its node.
        pid: its process there.
        beat: counts up with each writing.
        passed: major and minor number of what it has passed; who has the smallest is behind.
        place: that for people: ``in train batch 14 of epoch 3``.
        activity: what its training thread does there, as its stack tells.
        waits: whether that is certainly waiting for other ranks.
        stalled_s: seconds without progress.
    """

    rank: int
    attempt: str
    host: str
    pid: int
    beat: int
    passed: tuple[int, int]
    place: str
    activity: str
    waits: bool
    stalled_s: float

    def write(self, folder: Path) -> None:
        """Replace the rank's file at once; without fsync: what a crash of the node loses is of no
        use after it.
        """
        new = folder / f".rank-{self.rank}.json"
        new.write_text(json.dumps(asdict(self)) + "\n", encoding="utf-8")
        new.replace(folder / f"rank-{self.rank}.json")

    @classmethod
    def read(cls, folder: Path, rank: int, attempt: str) -> Heartbeat | None:
        """A rank's heartbeat; ``None`` where it has none in this attempt.

        Raises:
            OSError: the file is there, but cannot be read.
        """
        try:
            content = json.loads((folder / f"rank-{rank}.json").read_text(encoding="utf-8"))
            heartbeat = cls(**content | {"passed": tuple(content["passed"])})
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return heartbeat if heartbeat.attempt == attempt else None


def _noting(what: str, batch_at: int | None = None, *, within: bool = False) -> Callable[..., None]:
    """A hook that only notes that it was called.

    Args:
        what: the boundary, for people.
        batch_at: place of the batch's number among the hook's arguments.
        within: whether it is passed within a batch, or as often as this rank has evaluation
            batches.
    """

    def hook(watchdog: Watchdog, *given: Any) -> None:
        watchdog._note(what, None if batch_at is None else given[batch_at], within=within)

    return hook


class Watchdog(Callback):
    """Ends the run when this rank has made no progress for too long. The first of the Trainer's
    callbacks.

    It watches while it is entered as a context, from before the data are opened, since ranks wait
    for each other from the moment at which they meet::

        with Watchdog(run, rank, world_size, timeout_s=600) as watchdog:
            with watchdog.phase("opening the data"):
                ...
            Trainer(callbacks=[watchdog, ...]).fit(...)
    """

    def __init__(self, run: RunFolder, rank: int, world_size: int, timeout_s: float | None) -> None:
        """Describe the watch; nothing is started or written yet.

        Args:
            run: whose state and logs get the verdict.
            rank: number of this process.
            world_size: number of processes.
            timeout_s: seconds without progress that end the run; ``None`` for never.
        """
        self._run = run
        self._rank = rank
        self._world_size = world_size
        self._timeout_s = timeout_s
        self._folder = run.heartbeats
        self._attempt = "/".join(os.environ.get(name, "") for name in _ATTEMPT)
        self._beat = 0
        self._heard = False
        self._here = _Place(0, 0, "before the training")
        self._left = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        """Begin to watch the thread that calls this."""
        if self._timeout_s is not None:
            watched = threading.get_ident()
            self._thread = threading.Thread(
                target=self._watch, args=(self._timeout_s, watched), name="watchdog", daemon=True
            )
            with suppress(OSError):
                self._folder.mkdir(exist_ok=True)
            self._publish(self._here, 0.0, watched)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching and take the heartbeat away."""
        if self._thread is None:
            return
        self._left.set()
        self._thread.join(_LAST_WORDS_S)
        with suppress(OSError):
            (self._folder / f"rank-{self._rank}.json").unlink(missing_ok=True)
            self._folder.rmdir()  # refused until the last rank has left

    @contextmanager
    def phase(self, what: str, patience: float = 1.0) -> Iterator[None]:
        """Name long work outside of the batches, such as ``writing a checkpoint``; begin and end
        are progress.

        One rank may have phases that another has not. One may take ``patience`` times the timeout.
        """
        self._here = self._here._replace(phase=what, patience=patience)
        try:
            yield
        finally:
            self._here = self._here._replace(phase="", patience=1.0)

    def _note(self, what: str, batch: int | None = None, *, within: bool = False) -> None:
        major, minor, _, last_batch, epoch, *_ = self._here
        if within:
            self._here = _Place(major, minor + 1, what, last_batch if batch is None else batch, epoch)
        else:
            self._here = _Place(major + 1, 0, what, batch, epoch)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Note the beginning of a stage."""
        self._here = self._here._replace(epoch=0)
        self._note(f"in the setup of {stage}")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the beginning of an epoch, and its number."""
        self._here = self._here._replace(epoch=trainer.current_epoch + 1)
        self._note("at the start")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Note why the training ends, for the case that it does not."""
        self._here = self._here._replace(phase=f"ending with {type(exception).__name__}: {exception};")

    # Called in each step: a few assignments, and nothing else.
    on_fit_start = _noting("before the first epoch")
    on_train_batch_start = _noting("in train batch", 3)
    # Ranks wait for each other in the backward pass: the one that has not come there is the one
    # that holds them up.
    on_before_backward = _noting("in the backward pass of train batch", within=True)
    on_after_backward = _noting("after the backward pass of train batch", within=True)
    on_train_batch_end = _noting("after train batch", 4)
    on_train_epoch_end = _noting("at the end")
    on_validation_start = _noting("at the start of the validation")
    on_validation_batch_start = _noting("in validation batch", 3, within=True)
    on_validation_batch_end = _noting("after validation batch", 4, within=True)
    on_validation_epoch_end = _noting("at the end of the validation")
    on_test_start = _noting("at the start of the test")
    on_test_batch_start = _noting("in test batch", 3, within=True)
    on_test_batch_end = _noting("after test batch", 4, within=True)
    on_test_epoch_end = _noting("at the end of the test")

    # What the thread does.

    def _watch(self, timeout_s: float, watched: int) -> None:
        interval_s = min(_LOOK_S, timeout_s / _LOOKS_IN_TIMEOUT)
        turn_s = timeout_s + interval_s * (1 + min(self._rank, _TURNS))
        window_s = max(_WATCHED * timeout_s, _WATCHED_S)
        looked = published = time.monotonic()
        here, stalled_s, before_s = self._here, 0.0, 0.0
        before: dict[int, Heartbeat | None] = {}
        while not self._left.wait(interval_s):
            # Much later than asked for: the process was suspended, and could make no progress in
            # that time.
            passed_s, looked = min(time.monotonic() - looked, 2 * interval_s) / here.patience, time.monotonic()
            moved = self._here is not here
            if moved:
                here, stalled_s, before = self._here, 0.0, {}
            else:
                stalled_s += passed_s
            if not moved or looked - published >= timeout_s / _BEATS_IN_TIMEOUT:
                self._publish(here, stalled_s, watched)
                published = looked
            if stalled_s - passed_s < timeout_s <= stalled_s:
                self._log_stack(here, stalled_s, watched)
            if not before and stalled_s >= turn_s - window_s:
                before, before_s = self._heartbeats(), stalled_s
            elif before and stalled_s >= max(turn_s, before_s + window_s):
                now = self._heartbeats()
                verdict = judge(before, now, timeout_s)
                if verdict and self._here is here and not self._left.is_set():
                    self._end(*verdict)
                before, before_s = now, stalled_s

    def _publish(self, here: _Place, stalled_s: float, watched: int) -> None:
        self._beat += 1
        activity, waits = _activity(sys._current_frames().get(watched))
        self._last = Heartbeat(
            rank=self._rank,
            attempt=self._attempt,
            host=socket.gethostname(),
            pid=os.getpid(),
            beat=self._beat,
            passed=(here.major, here.minor),
            place=str(here),
            activity=activity,
            waits=waits,
            stalled_s=round(stalled_s, 3),
        )
        try:
            self._last.write(self._folder)
            self._heard = True
        except OSError:
            self._heard = False

    def _heartbeats(self) -> dict[int, Heartbeat | None]:
        """Those of all ranks; only this one's where the folder cannot be used, and silence would
        prove nothing.
        """
        own: dict[int, Heartbeat | None] = {self._rank: self._last}
        if not self._heard:
            return own
        try:
            return {rank: Heartbeat.read(self._folder, rank, self._attempt) for rank in range(self._world_size)} | own
        except OSError:
            return own

    def _log_stack(self, here: _Place, stalled_s: float, watched: int) -> None:
        frame = sys._current_frames().get(watched)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        with suppress(OSError), self._run.log(self._rank).open("a", encoding="utf-8") as log:
            log.write(f"No progress for {_duration(stalled_s)}, {here}. The stack, innermost call last:\n{stack}")

    def _end(self, rank: int, problem: str) -> None:
        """Write the verdict and end this process; who started it ends the others."""
        last_words = threading.Timer(_LAST_WORDS_S, os._exit, [1])
        last_words.daemon = True
        last_words.start()
        its_log = self._run.log(rank)
        remedy = f"look for the cause in {its_log}, or raise trainer.stall_timeout if a step may take so long"
        error = ClusterError.at("training", problem, remedy=remedy)
        record_failure(self._run, error, rank)
        with suppress(OSError), self._run.log(self._rank).open("a", encoding="utf-8") as log:
            log.write(f"{error}\n")
            if not os.path.sameopenfile(log.fileno(), 2):
                os.write(2, f"{error}\n".encode())
        os._exit(1)


def judge(
    before: Mapping[int, Heartbeat | None], now: Mapping[int, Heartbeat | None], timeout_s: float
) -> tuple[int, str] | None:
    """Which rank holds up the training, and how, as the heartbeats of all ranks at two times tell.

    Clocks of different nodes are never compared.

    Args:
        before: for each rank its heartbeat some time ago, or ``None`` where it had none.
        now: the same at present.
        timeout_s: seconds without progress after which a rank is stuck.

    Returns:
        The (first) rank to blame, and the problem in words; ``None`` when nothing is certain, or
        the rank behind works.
    """
    stuck_s = 0.9 * timeout_s  # another rank's last heartbeat is a little old
    silent = [rank for rank, heartbeat in now.items() if heartbeat == before.get(rank)]
    vanished = [heartbeat for rank in silent if (heartbeat := now[rank])]
    if vanished:
        blamed = [heartbeat.rank for heartbeat in vanished]
        problem = f"{_names(vanished)} gave no sign of life: stopped, gone, or cut off from the run folder"
    elif silent:
        blamed = silent
        problem = f"{_listed([f'rank {rank}' for rank in silent])} did not begin to train, or left already"
    else:
        told = [heartbeat for heartbeat in now.values() if heartbeat]
        least = min(heartbeat.passed for heartbeat in told)
        behind = [heartbeat for heartbeat in told if heartbeat.passed == least]
        behind = [heartbeat for heartbeat in behind if not heartbeat.waits] or behind
        if len(told) < len(now) or min(heartbeat.stalled_s for heartbeat in behind) < stuck_s:
            return None
        blamed = [heartbeat.rank for heartbeat in behind]
        made = "no rank made" if 1 < len(behind) == len(now) else f"{_names(behind)} made no"
        problem = f"{made} progress for {_duration(timeout_s)} ({behind[0].place}, {behind[0].activity})"
    others = [heartbeat for rank, heartbeat in now.items() if rank not in blamed]
    if others and all(heartbeat and heartbeat.stalled_s >= stuck_s for heartbeat in others):
        problem += f"; the others wait for {'it' if len(blamed) == 1 else 'them'}"
    return blamed[0], problem


def _activity(frame: FrameType | None) -> tuple[str, bool]:
    """What a stack tells for certain of what its thread does, and whether that is waiting for other
    ranks.
    """
    if frame is None:
        return "its thread has ended", False
    innermost = frame.f_code
    at = f"at {Path(innermost.co_filename).name}:{frame.f_lineno} in {innermost.co_qualname}"
    caller: FrameType | None = frame
    while caller:
        file, function = caller.f_code.co_filename, caller.f_code.co_name
        if file.endswith(_COLLECTIVES):
            return f"in {function}, which waits for other ranks", True
        if any(file.endswith(loader) and function == gives for loader, gives in _LOADERS.items()):
            return f"its loader gives no batch, {at}", False
        caller = caller.f_back
    return at, False


def _names(heartbeats: Sequence[Heartbeat]) -> str:
    return _listed([f"rank {heartbeat.rank} on {heartbeat.host}" for heartbeat in heartbeats])


def _listed(names: Sequence[str], most: int = 4) -> str:
    shown = [*names[:most], *([f"{len(names) - most} more"] if len(names) > most else [])]
    return " and ".join([*([", ".join(shown[:-1])] if shown[1:] else []), shown[-1]])


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.3g} min" if seconds >= 60 else f"{seconds:.3g} s"
