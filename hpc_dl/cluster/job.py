"""What runs on the compute node: one rank of one run."""

from __future__ import annotations

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

from hpc_dl.cluster.processes import die_with_launcher
from hpc_dl.compatibility.checks import check_training
from hpc_dl.errors import HpcDlError, Stopped
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import AtWork
from hpc_dl.runs.state import end_state, record_failure
from hpc_dl.training.stopping import signals

KEEP_TERMINAL = "--keep-terminal"


@dataclass(frozen=True)
class Job:
    """All that submitit pickles. Everything else that a run needs lies in its folder.

    Attributes:
        run_dir: the run folder.
    """

    run_dir: str

    def __call__(self) -> None:
        """Run the rank that Slurm's environment describes; leaves the process when it fails or
        stops.
        """
        logging.getLogger("submitit").setLevel(logging.WARNING)  # its bookkeeping would end up in the rank's log
        leave_as_rank(run_rank(RunFolder(Path(self.run_dir)), redirect=True))


def run_rank(run: RunFolder, *, redirect: bool) -> int:
    """Train as one rank, and see to it that a failure is on record, even one before the training
    began.

    Args:
        run: a prepared run folder.
        redirect: whether all output goes to the rank's log instead of where it went so far.

    Returns:
        0 when it finished, 75 when it stopped with a checkpoint, 1 when it failed, 2 when another
        training is at work in the folder; never raises an exception of the training.
    """
    # Over submitit's handlers, which would requeue without a checkpoint.
    signals.install(lambda: end_state(run, "cancelled", reason="interrupted by a second Ctrl-C"))
    rank = rank_of(os.environ)
    if redirect:
        _redirect_output(run.log(rank), rank)
    # Parallel file systems often refuse HDF5's locks, and HDF5 reads this when it is first
    # imported.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    try:
        check_training(with_wandb=False)  # before the import of train, which fails where a private name is missing
        from hpc_dl.training.train import train  # torch: seconds, and a failing import belongs into the log

        train(run)
    except (Stopped, AtWork) as told:
        print(told, file=sys.stderr, flush=True)
        return told.exit_status
    except BaseException as error:  # SystemExit too: code of a user may call sys.exit
        _tell_failure(run, rank, error, redirected=redirect)
        return 1
    return 0


def rank_of(environment: Mapping[str, str]) -> int:
    """Number of this rank: our launcher's word, else srun's, else 0. Known without importing
    Lightning.
    """
    return int(environment.get("RANK", environment.get("SLURM_PROCID", "0")))


def leave(status: int) -> None:
    """End this process at once, unless its rank finished.

    Not through ``sys.exit``: torch's cleanup may wait for ranks that wait for this one, and only
    the end of the process makes srun (``--kill-on-bad-exit``) or our launcher end them.

    Args:
        status: what :func:`run_rank` returned.
    """
    if status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def leave_as_rank(status: int) -> None:
    """As :func:`leave`, for one of several: stopping is no failure that would have the others
    killed as they save.
    """
    if status == Stopped.exit_status:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # whoever started us reads the run's state
    leave(status)


def _redirect_output(log: Path, rank: int) -> None:
    """Send stdout and stderr, also of C++ code and of child processes, to the end of the log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    job_id = os.environ.get("SLURM_JOB_ID")
    where = f"{socket.gethostname()}, process {os.getpid()}" + (f", Slurm job {job_id}" if job_id else "")
    print(f"=== {time.strftime('%Y-%m-%dT%H:%M:%S%z')} rank {rank} on {where}", file=sys.stderr, flush=True)


def _tell_failure(run: RunFolder, rank: int, error: BaseException, *, redirected: bool) -> None:
    told = f"{error}\n" if isinstance(error, HpcDlError) else traceback.format_exc()
    sys.stderr.write(told)
    if not redirected:
        with suppress(OSError), run.log(rank).open("a", encoding="utf-8") as log:
            log.write(told)
    record_failure(run, error, rank)


def main() -> None:
    """``python -m hpc_dl.cluster.job RUN [--keep-terminal]``: one rank, started by srun or by our
    launcher.

    With ``--keep-terminal`` rank 0 goes on writing to the terminal, where somebody watches ``hpc-dl
    train``.
    """
    die_with_launcher()
    run_dir, *options = sys.argv[1:]
    watched = KEEP_TERMINAL in options and rank_of(os.environ) == 0
    leave_as_rank(run_rank(RunFolder(Path(run_dir)), redirect=not watched))


if __name__ == "__main__":
    main()
