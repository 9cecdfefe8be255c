"""Launching all ranks of a run: in this process, as processes of this machine, or through srun."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import psutil

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import job_environment, requeue, slurm
from hpc_dl.cluster.allocation import in_batch_script, refuse_several_tasks
from hpc_dl.cluster.child_processes import Command, run_together
from hpc_dl.cluster.crash import crash_in
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.local_ranks import local_rank_commands
from hpc_dl.cluster.rank_process import KEEP_TERMINAL, run_rank
from hpc_dl.errors import ClusterError, Stopped
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import AlreadyRunning
from hpc_dl.runs.state import ENDED, end_state, read_state, write_state

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

INTERRUPTED = 130  # exit status of a shell command that SIGINT ended


def launch(run: RunFolder, experiment: Experiment, *, foreground: bool, in_process: bool = True) -> int:
    """Train with all ranks of the experiment's resources, and wait for the end.

    Args:
        run: a prepared run folder.
        experiment: the run's experiment.
        foreground: whether rank 0 writes to the terminal; otherwise all output goes to the logs.
        in_process: whether a single rank may use the code that this process imports; otherwise it
            uses the run's snapshot of the code. A user's own code always runs in a process of its
            own, whose crash can be reported.

    Returns:
        0 if it finished, 75 if it stopped with a checkpoint, 130 after a second Ctrl-C, 1 if it
        failed, 2 if another training is running in the folder; details are in the run's state.

    Raises:
        ClusterError: the ranks cannot be started from here.
    """
    if foreground:
        _write_job(run)
    for name in job_environment.RANK_VARIABLES:
        os.environ.pop(name, None)  # of another job; the ranks get theirs below
    for left_over in (run.requeue, requeue.refusal_file(run)):
        left_over.unlink(missing_ok=True)  # by an earlier attempt that was killed
    if read_state(run)["state"] == "stopped":
        end_state(run, "running")  # the ranks write it again, if they live long enough
    try:
        refuse_several_tasks(os.environ)
        if in_batch_script(os.environ):
            return _with_srun(run, experiment, foreground)
        resources = experiment.resources
        if resources.nodes > 1:
            raise ClusterError.at(
                "resources.nodes",
                "several nodes can only be used inside a Slurm job",
                value=resources.nodes,
                remedy="use `hpc-dl submit` or `sbatch slurm/train.sbatch`, or set resources.nodes=1",
            )
    except ClusterError as error:
        write_state(run, "failed", reason=str(error))
        raise
    is_own = bool(experiment.model.import_paths or experiment.data.import_paths)
    with_snapshot = resources.world_size > 1 or not in_process
    if with_snapshot or is_own:
        environment = (
            job_environment.for_python(os.environ, run, experiment)
            if with_snapshot
            else job_environment.like_this_process(os.environ)
        )
        try:
            return _with_local_ranks(run, experiment, foreground, environment)
        except KeyboardInterrupt:
            end_state(run, "cancelled", reason="interrupted by a second Ctrl-C")
            return INTERRUPTED
    # stdout is reserved for the command's result (--json); output of the training goes to stderr.
    with contextlib.redirect_stdout(sys.stderr) if foreground else contextlib.nullcontext():
        return run_rank(run, redirect=not foreground, checked=foreground)


def _write_job(run: RunFolder) -> None:
    """Write the ``job.json`` of a run that was not submitted, for ``status`` and ``cancel``."""
    if in_batch_script(os.environ):
        facts: dict[str, object] = {"launcher": "sbatch", **slurm.this_job(os.environ).facts()}
        facts["home_cluster"] = os.environ.get("SLURM_CLUSTER_NAME", "")
    else:
        facts = {"launcher": "train", "pid": os.getpid(), "process_started": psutil.Process().create_time()}
    time_now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_json(run.job, {**facts, "host": socket.gethostname(), "submitted": time_now})


def _with_srun(run: RunFolder, experiment: Experiment, foreground: bool) -> int:
    resources = experiment.resources
    print(
        f"{JobId.from_environment(os.environ).description}: {resources.nodes} nodes × {resources.ranks_per_node} ranks "
        f"with {resources.cpus_per_gpu} CPU cores each, as allocated",
        file=sys.stderr,
        flush=True,
    )
    options = [
        "--kill-on-bad-exit=1",
        "--export=ALL",
        f"--nodes={resources.nodes}",
        f"--ntasks-per-node={resources.ranks_per_node}",
        f"--cpus-per-task={resources.cpus_per_gpu}",
    ]
    environment = job_environment.for_python(job_environment.for_srun(os.environ), run, experiment)
    failure = run_together([Command(["srun", *options, *_rank_command(run, foreground)], environment)])
    status_of_ranks = failure.status if failure else 0
    # Also with run_together, so that a signal cannot end us before the requeue is decided.
    decision = run_together(
        [Command(requeue.teardown_command(run, status_of_ranks, slurm.this_job(os.environ)), os.environ)]
    )
    status = decision.status if decision else 0
    if status in (0, Stopped.exit_status):
        return status
    if failure:
        _record_failure(run, f"srun {failure}", rank=None)
    return 1


def _with_local_ranks(run: RunFolder, experiment: Experiment, foreground: bool, environment: Mapping[str, str]) -> int:
    argv = _rank_command(run, foreground)
    failure = run_together(local_rank_commands(argv, experiment.resources.world_size, environment))
    state = read_state(run)["state"]
    if state == "finished":
        return 0
    if state in ("stopped", "pruned"):
        return Stopped.exit_status  # the exit status of stopped ranks is 0
    if failure and failure.returncode == AlreadyRunning.exit_status:
        return AlreadyRunning.exit_status
    if failure:
        # A killed rank is the cause of the failures that the others recorded. A rank that raised
        # has recorded a better reason than its exit status.
        killed = failure.returncode < 0 and state == "failed"
        crash = crash_in(run.log(failure.index)) if failure.crashed else ""
        reason = f"rank {failure.index} {failure}" + (f": {crash}" if crash else "")
        _record_failure(run, reason, rank=failure.index, replace=killed)
    return 1


def _rank_command(run: RunFolder, foreground: bool) -> list[str]:
    options = [KEEP_TERMINAL] if foreground else []
    return [sys.executable, "-m", "hpc_dl.cluster.rank_process", str(run.path), *options]


def _record_failure(run: RunFolder, reason: str, rank: int | None, replace: bool = False) -> None:
    """Record the failure, unless a rank has already recorded a better reason.

    Args:
        run: the run.
        reason: the reason.
        rank: the rank that failed, if known.
        replace: whether to replace a recorded reason.
    """
    if replace or read_state(run)["state"] not in ENDED:
        write_state(run, "failed", reason=reason, rank=rank, log=str(run.log(rank or 0)))
