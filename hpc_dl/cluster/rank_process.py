"""The process of one rank on a compute node: it trains, records failures, and ends correctly."""

from __future__ import annotations

import faulthandler
import logging
import os
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from hpc_dl.training.stopping import signals

if __name__ == "__main__":
    signals.install()  # a signal during the imports below, which take a second, would kill the process

from hpc_dl.cluster.child_processes import die_with_launcher
from hpc_dl.cluster.dependency import check_before_start
from hpc_dl.cluster.job_id import JobId
from hpc_dl.compatibility.checks import check_training
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
from hpc_dl.errors import HpcDlError, Stopped, environment_fault, printable
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import AlreadyRunning
from hpc_dl.runs.state import end_state, record_failure

KEEP_TERMINAL = "--keep-terminal"


@dataclass(frozen=True)
class RankTask:
    """The task that submitit pickles and calls in each rank; all else is in the run folder.

    Attributes:
        run_dir: the run folder.
    """

    run_dir: str

    def __call__(self) -> None:
        """Run the rank that Slurm's environment specifies; ends the process unless it finishes."""
        logging.getLogger("submitit").setLevel(logging.WARNING)  # keeps its messages out of the rank's log
        exit_as_rank(run_rank(RunFolder(Path(self.run_dir)), redirect=True))


def run_rank(run: RunFolder, *, redirect: bool, checked: bool = False, stacks: TextIO | None = None) -> int:
    """Train as one rank, and record a failure, even one before the training starts.

    Args:
        run: a prepared run folder.
        redirect: whether all output goes to the rank's log instead of the terminal.
        checked: whether this process has already checked the packages that a training uses.
        stacks: where the stack of a crash in compiled code goes; ``None`` for stderr.

    Returns:
        0 if it finished, 75 if it stopped with a checkpoint, 1 if it failed, 2 if another training
        is running in the folder. Exceptions of the training are not raised.
    """
    # Replaces submitit's handlers, which would requeue the job without a checkpoint.
    signals.install(lambda: end_state(run, "cancelled", reason="interrupted by a second Ctrl-C"))
    rank = rank_of(os.environ)
    if redirect:
        redirect_output(run.log(rank), rank)
    faulthandler.enable(stacks or sys.stderr)  # a crash in C code leaves the Python statement in the log
    # Many parallel file systems do not support HDF5's locks; HDF5 reads this when it is imported.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    defer_rarely_used()
    try:
        if not checked:  # before the import of train, which fails where a private name is missing
            check_training(with_wandb=False)
        if reason := check_before_start(run):
            print(reason, file=sys.stderr, flush=True)
            end_state(run, "cancelled", reason=reason)
            return 1
        if rank == 0:
            run.after.unlink(missing_ok=True)  # a resumed or requeued run has nothing more to wait for
        _work(run)
    except (Stopped, AlreadyRunning) as error:
        print(error, file=sys.stderr, flush=True)
        return error.exit_status
    except BaseException as error:  # SystemExit too: user code may call sys.exit
        _report_failure(run, rank, error, redirected=redirect)
        return 1
    return 0


def _work(run: RunFolder) -> None:
    """Train, or do what the run does instead."""
    # Imported late: torch takes seconds, and a failing import belongs in the log.
    from hpc_dl.inference.model_task import ModelTask, perform

    if (task := ModelTask.of(run)) is not None:
        perform(task, run)
        return
    from hpc_dl.training.train import train

    train(run)


def rank_of(environment: Mapping[str, str]) -> int:
    """The rank of this process, as set by our launcher, else by srun, else 0."""
    return int(environment.get("RANK", environment.get("SLURM_PROCID", "0")))


def exit_unless_finished(status: int) -> None:
    """End this process immediately, unless its rank finished.

    ``sys.exit`` does not do it: torch's cleanup may wait for ranks that wait for this one, and srun
    (``--kill-on-bad-exit``) and our launcher end the others only when this process has ended.

    Args:
        status: as returned by :func:`run_rank`.
    """
    if status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def exit_as_rank(status: int) -> None:
    """Do the same in one of several ranks, with exit status 0 for a stop.

    A nonzero status would make srun or our launcher kill the others while they save the checkpoint.

    Args:
        status: as returned by :func:`run_rank`.
    """
    if status == Stopped.exit_status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # the launcher reads the run's state
    exit_unless_finished(status)


def redirect_output(log: Path, rank: int) -> None:
    """Append stdout and stderr to the log, including those of C++ code and of child processes."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    job = f", {JobId.from_environment(os.environ).description}" if "SLURM_JOB_ID" in os.environ else ""
    where = f"{socket.gethostname()}, process {os.getpid()}{job}"
    print(f"=== {time.strftime('%Y-%m-%dT%H:%M:%S%z')} rank {rank} on {where}", file=sys.stderr, flush=True)


def _report_failure(run: RunFolder, rank: int, error: BaseException, *, redirected: bool) -> None:
    fault = error if isinstance(error, HpcDlError) else environment_fault(error)
    message = printable(traceback.format_exc()) if fault is None else f"{fault}\n"
    sys.stderr.write(message)
    if not redirected:
        with suppress(OSError), run.log(rank).open("a", encoding="utf-8") as log:
            log.write(message)
    record_failure(run, error, rank)


def main() -> None:
    """``python -m hpc_dl.cluster.rank_process RUN [--keep-terminal]``: train as one rank.

    With ``--keep-terminal`` rank 0 writes to the terminal of ``hpc-dl train`` instead of its log.
    """
    die_with_launcher()
    run_dir, *options = sys.argv[1:]
    run = RunFolder(Path(run_dir))
    if KEEP_TERMINAL in options and rank_of(os.environ) == 0:
        run.log(0).parent.mkdir(parents=True, exist_ok=True)
        with run.log(0).open("a", encoding="utf-8") as stacks:  # the launcher puts a crash in one line
            exit_as_rank(run_rank(run, redirect=False, stacks=stacks))
    else:
        exit_as_rank(run_rank(run, redirect=True))


if __name__ == "__main__":
    main()
