"""The processes of an attempt: started as new programs, or forked from this one, which is faster.

This process has imported torch once. A fork saves seconds for each start, so that many more faults
fit into the time; one attempt in ten starts as a new program, as on a cluster.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from hpc_dl.cluster import child_processes as launcher_processes
from hpc_dl.cluster.launch import launch
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder


def import_everything() -> None:
    """Import all that a rank needs, so that forked ones need not."""
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    import torch

    import hpc_dl.cluster.rank_process
    import hpc_dl.models.cnn
    import hpc_dl.training.train  # noqa: F401

    torch.set_num_threads(1)  # a thread pool does not survive a fork


def run_attempt(run: RunFolder) -> int:
    """Run the launcher of ``hpc-dl submit --site local``; return its exit status."""
    return launch(run, Experiment.from_dict(yaml.load(run.config)), foreground=False)


def start_program(run: RunFolder) -> int:
    """Start an attempt as a new program, in its own session; return the process id."""
    with (run.submitit / "background.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.soak", "--attempt", str(run.path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ).pid


def start_fork(run: RunFolder) -> int:
    """Start an attempt as a fork, in its own session; return the process id."""

    def work() -> int:
        log = os.open(run.submitit / "background.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        launcher_processes.subprocess = _ForkingSubprocess  # type: ignore[attr-defined,assignment]
        return run_attempt(run)

    return _fork(work, os.setsid)


def _fork(work: Callable[[], int], detach: Callable[[], None]) -> int:
    """Run a function in a forked process, with the default signal handlers of a new program.

    Args:
        work: the function; its result is the exit status.
        detach: is called first: makes the process a leader of its session or group.
    """
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            detach()
            for number in signals:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            status = work()
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return pid


class _ForkedRank:
    """A rank's process with the interface of ``subprocess.Popen`` that the launcher uses."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], stdout: int, process_group: int) -> None:
        def work() -> int:
            from hpc_dl.cluster import rank_process

            os.environ.clear()
            os.environ.update(env)
            sys.argv = list(argv[argv.index("hpc_dl.cluster.rank_process") :])
            rank_process.main()
            return 0

        self.returncode: int | None = None
        self.pid = _fork(work, lambda: os.setpgid(0, 0))
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(self.pid, self.pid)  # also here: whichever process comes first

    def poll(self) -> int | None:
        return self._wait(os.WNOHANG)

    def wait(self) -> int | None:
        return self._wait(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class _ForkingSubprocess:
    """Replaces the module ``subprocess`` in the launcher."""

    Popen = _ForkedRank
