"""The thread that watches a rank's progress, writes its heartbeat, and ends a stalled run."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress

from hpc_dl.errors import ClusterError
from hpc_dl.formatting import duration
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import record_failure
from hpc_dl.training.stopping.heartbeat import Heartbeat, Progress
from hpc_dl.training.stopping.stack_reading import describe_activity
from hpc_dl.training.stopping.stall_verdict import find_stalled_rank

_INTERVAL_S = 10.0  # between two checks of this rank's progress; shorter where the timeout is short
_CHECKS_IN_TIMEOUT = 30
_BEATS_IN_TIMEOUT = 10  # heartbeats of a rank that makes progress; few, since each is work for a parallel file system
# A rank is silent when it writes no heartbeat for this share of the timeout, and for at least this
# many seconds.
_SILENT_SHARE, _SILENT_S = 0.25, 2.0
_TURNS = 20  # ranks take turns with the verdict: a thousand ranks must not read a thousand files each
_EPILOGUE_S = 30.0  # for writing the verdict: the disk, or the reader of stderr, may be what hangs
# The ranks of one attempt share these: Slurm's step, or the port of our launcher. Another attempt
# has other values.
_ATTEMPT_VARIABLES = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID", "MASTER_PORT")


class StallMonitor:
    """A daemon thread that watches the thread that creates it.

    Nothing goes through torch: the network, or rank 0 with its store, may be what is stuck.
    """

    def __init__(
        self, run: RunFolder, rank: int, world_size: int, timeout_s: float, progress: Callable[[], Progress]
    ) -> None:
        """Write the first heartbeat and start the thread.

        Args:
            run: the run folder; its state and logs get the verdict.
            rank: number of this process.
            world_size: number of processes.
            timeout_s: seconds without progress that end the run.
            progress: returns this rank's progress.
        """
        self._run = run
        self._rank = rank
        self._world_size = world_size
        self._timeout_s = timeout_s
        self._progress = progress
        self._folder = run.heartbeats
        self._attempt = "/".join(os.environ.get(name, "") for name in _ATTEMPT_VARIABLES)
        self._beat = 0
        self._folder_works = False
        self._watched_thread = threading.get_ident()
        self._stopped = threading.Event()
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
        self._write_heartbeat(progress(), 0.0)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and delete the heartbeat."""
        self._stopped.set()
        self._thread.join(_EPILOGUE_S)
        with suppress(OSError):
            (self._folder / f"rank-{self._rank}.json").unlink(missing_ok=True)
            self._folder.rmdir()  # fails until the last rank has deleted its file

    def _watch(self) -> None:
        timeout_s = self._timeout_s
        interval_s = min(_INTERVAL_S, timeout_s / _CHECKS_IN_TIMEOUT)
        turn_s = timeout_s + interval_s * (1 + min(self._rank, _TURNS))
        window_s = max(_SILENT_SHARE * timeout_s, _SILENT_S)
        checked = written = time.monotonic()
        progress, stalled_s, before_s = self._progress(), 0.0, 0.0
        before: dict[int, Heartbeat | None] = {}
        while not self._stopped.wait(interval_s):
            # Much later than requested: the process was suspended, and could make no progress in
            # that time.
            passed_s = min(time.monotonic() - checked, 2 * interval_s) / progress.patience
            checked = time.monotonic()
            moved = self._progress() is not progress
            if moved:
                progress, stalled_s, before = self._progress(), 0.0, {}
            else:
                stalled_s += passed_s
            if not moved or checked - written >= timeout_s / _BEATS_IN_TIMEOUT:
                self._write_heartbeat(progress, stalled_s)
                written = checked
            if stalled_s - passed_s < timeout_s <= stalled_s:
                self._log_stack(progress, stalled_s)
            if not before and stalled_s >= turn_s - window_s:
                before, before_s = self._read_heartbeats(), stalled_s
            elif before and stalled_s >= max(turn_s, before_s + window_s):
                now = self._read_heartbeats()
                verdict = find_stalled_rank(before, now, timeout_s)
                if verdict and self._progress() is progress and not self._stopped.is_set():
                    self._end_run(*verdict)
                before, before_s = now, stalled_s

    def _write_heartbeat(self, progress: Progress, stalled_s: float) -> None:
        self._beat += 1
        activity, waits = describe_activity(sys._current_frames().get(self._watched_thread))
        self._last = Heartbeat(
            rank=self._rank,
            attempt=self._attempt,
            host=socket.gethostname(),
            pid=os.getpid(),
            beat=self._beat,
            passed=(progress.major, progress.minor),
            place=str(progress),
            activity=activity,
            waits=waits,
            stalled_s=round(stalled_s, 3),
        )
        try:
            self._last.write(self._folder)
            self._folder_works = True
        except OSError:
            self._folder_works = False

    def _read_heartbeats(self) -> dict[int, Heartbeat | None]:
        """Return the heartbeats of all ranks; only this rank's if the folder cannot be used.

        Without the folder, the silence of another rank would prove nothing.
        """
        own: dict[int, Heartbeat | None] = {self._rank: self._last}
        if not self._folder_works:
            return own
        try:
            return {rank: Heartbeat.read(self._folder, rank, self._attempt) for rank in range(self._world_size)} | own
        except OSError:
            return own

    def _log_stack(self, progress: Progress, stalled_s: float) -> None:
        frame = sys._current_frames().get(self._watched_thread)
        stack = "".join(traceback.format_stack(frame)) if frame else ""
        with suppress(OSError), self._run.log(self._rank).open("a", encoding="utf-8") as log:
            log.write(f"No progress for {duration(stalled_s)}, {progress}. The stack, innermost call last:\n{stack}")

    def _end_run(self, rank: int, problem: str) -> None:
        """Write the verdict and end this process; srun or our launcher ends the other ranks."""
        epilogue = threading.Timer(_EPILOGUE_S, os._exit, [1])
        epilogue.daemon = True
        epilogue.start()
        remedy = (
            f"look for the cause in {self._run.log(rank)}, or raise trainer.stall_timeout if a step may take so long"
        )
        error = ClusterError.at("training", problem, remedy=remedy)
        record_failure(self._run, error, rank)
        with suppress(OSError), self._run.log(self._rank).open("a", encoding="utf-8") as log:
            log.write(f"{error}\n")
            if not os.path.sameopenfile(log.fileno(), 2):
                os.write(2, f"{error}\n".encode())
        os._exit(1)
