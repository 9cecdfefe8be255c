"""From one process to all ranks of a run: in this process, as processes of this machine, or through
srun.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.cluster import environment as environments
from hpc_dl.cluster import requeue
from hpc_dl.cluster.job import KEEP_TERMINAL, run_rank
from hpc_dl.cluster.processes import LAUNCHER_PID, Command, run_together
from hpc_dl.errors import ClusterError, Stopped
from hpc_dl.runs.folder import RunFolder, all_runs
from hpc_dl.runs.lock import AtWork
from hpc_dl.runs.provenance import redact
from hpc_dl.runs.state import ENDED, end_state, read_state, write_state

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_INTERRUPTED = 130  # as shells tell an end by SIGINT
# Slurm numbers ordinary steps from 0; the shell of an salloc is a step too, with one of the
# reserved numbers.
_FIRST_RESERVED_STEP = 0xFFFFFFF0
# srun takes its defaults from these; ours come from the experiment, and the two may contradict each
# other.
_SRUN_DEFAULTS = (
    "SLURM_NTASKS",
    "SLURM_NPROCS",
    "SLURM_NTASKS_PER_NODE",
    "SLURM_TASKS_PER_NODE",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_PER_GPU",
    "SLURM_DISTRIBUTION",
    "SLURM_EXPORT_ENV",
)


def launch(run: RunFolder, experiment: Experiment, *, foreground: bool, in_process: bool = True) -> int:
    """Train with all ranks that the experiment's resources ask for, and wait for the end.

    Args:
        run: a prepared run folder.
        experiment: what it was prepared from.
        foreground: whether somebody watches: rank 0 then keeps the terminal, else all output goes
            to the logs.
        in_process: whether a single rank may be this process, with the code that it has imported;
            otherwise it is another one, with the run's snapshot of the code.

    Returns:
        0 when it finished, 75 when it stopped with a checkpoint, 130 after a second Ctrl-C, 1 when
        it failed, 2 when another training is at work in its folder; the run's state says more.

    Raises:
        ClusterError: the ranks cannot be started from here.
    """
    if foreground:
        _sign(run)
    for left_over in (run.requeue, requeue.refusal(run)):
        left_over.unlink(missing_ok=True)  # by an earlier attempt that was killed
    try:
        _refuse_several_tasks(os.environ)
        if in_batch_script(os.environ):
            return _with_srun(run, experiment, foreground)
        resources = experiment.resources
        if resources.nodes > 1:
            raise ClusterError.at(
                "resources.nodes",
                "several nodes can only be reached inside a Slurm job",
                value=resources.nodes,
                remedy="use `hpc-dl submit` or `sbatch slurm/train.sbatch`, or set resources.nodes=1",
            )
    except ClusterError as error:
        write_state(run, "failed", reason=str(error))
        raise
    if resources.world_size > 1 or not in_process:
        try:
            return _with_local_ranks(run, experiment, foreground)
        except KeyboardInterrupt:
            end_state(run, "cancelled", reason="interrupted by a second Ctrl-C")
            return _INTERRUPTED
    # stdout belongs to the answer of the command (--json); what is printed during the training is
    # for people.
    with contextlib.redirect_stdout(sys.stderr) if foreground else contextlib.nullcontext():
        return run_rank(run, redirect=not foreground)


def in_batch_script(environ: Mapping[str, str]) -> bool:
    """Whether this is the shell of a Slurm allocation (sbatch's script, salloc), from which srun
    starts the ranks.
    """
    step = int(environ.get("SLURM_STEP_ID", _FIRST_RESERVED_STEP))
    return "SLURM_JOB_ID" in environ and step >= _FIRST_RESERVED_STEP and shutil.which("srun") is not None


def allocation_overrides(environ: Mapping[str, str] = os.environ) -> list[str]:
    """What a Slurm allocation has already decided, as ``resources.…=`` overrides; nothing outside
    of one.

    So ``sbatch --nodes=2 slurm/train.sbatch CONFIG`` trains on two nodes, whatever the YAML says.

    Raises:
        ClusterError: srun has started us several times, or the allocation has fewer CPU cores than
            GPUs.
    """
    _refuse_several_tasks(environ)
    if "SLURM_JOB_ID" not in environ:
        return []
    # Inside of `srun --pty` only this node is ours, however many the job has.
    nodes = int(environ.get("SLURM_JOB_NUM_NODES", "1")) if in_batch_script(environ) else 1
    gpus = int(environ.get("SLURM_GPUS_ON_NODE") or environ.get("SLURM_GPUS_PER_NODE", "0").rpartition(":")[2])
    overrides = [f"resources.nodes={nodes}", f"resources.gpus_per_node={gpus}"]
    if cpus := int(environ.get("SLURM_CPUS_ON_NODE", "0")):
        if cpus < gpus:
            raise ClusterError.at(
                "Slurm",
                f"the allocation has {cpus} CPU cores on this node, fewer than its {gpus} GPUs, which have a rank each",
                remedy="ask for it with --cpus-per-gpu=4",
            )
        overrides.append(f"resources.cpus_per_gpu={cpus // max(1, gpus)}")
    if mebibytes := int(environ.get("SLURM_MEM_PER_NODE", "0")):
        overrides.append(f"resources.memory={mebibytes}M")
    return overrides


def begun_by_this_job(runs: Path, command: Sequence[str], environ: Mapping[str, str] = os.environ) -> RunFolder | None:
    """The run that this Slurm job began before it was requeued: it goes on there, instead of
    beginning another.

    Args:
        runs: folder of all runs.
        command: our command line; a batch script may train several experiments, one after the
            other.
        environ: the job's environment.
    """
    if int(environ.get("SLURM_RESTART_COUNT", "0")) == 0 or not in_batch_script(environ):
        return None
    for run in reversed(list(all_runs(runs))):
        job = read_json(run.job) or {}
        if job.get("launcher") == "sbatch" and job.get("job_id") == environ["SLURM_JOB_ID"]:
            began_with = (read_json(run.provenance) or {}).get("command")
            if began_with == [redact(word) for word in command]:
                return run
    return None


def _sign(run: RunFolder) -> None:
    """Write ``job.json`` for a run that nobody submitted, so that its state can be told and it can
    be cancelled.
    """
    if in_batch_script(os.environ):
        facts: dict[str, object] = {"launcher": "sbatch", "job_id": os.environ["SLURM_JOB_ID"]}
    else:
        facts = {"launcher": "train", "pid": os.getpid(), "process_started": psutil.Process().create_time()}
    time_now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    write_json(run.job, {**facts, "host": socket.gethostname(), "submitted": time_now})


def _refuse_several_tasks(environ: Mapping[str, str]) -> None:
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        raise ClusterError.at(
            "srun",
            "hpc-dl was started several times",
            value=f"{environ['SLURM_STEP_NUM_TASKS']} tasks",
            remedy="run hpc-dl train without srun: it starts its own ranks",
        )


def _with_srun(run: RunFolder, experiment: Experiment, foreground: bool) -> int:
    resources = experiment.resources
    print(
        f"Slurm job {os.environ['SLURM_JOB_ID']}: {resources.nodes} nodes × {resources.ranks_per_node} ranks with "
        f"{resources.cpus_per_gpu} CPU cores each, as allocated",
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
    environment = environments.for_python(os.environ, run, experiment)
    for name in _SRUN_DEFAULTS:
        environment.pop(name, None)
    failure = run_together([Command(["srun", *options, *_rank_command(run, foreground)], environment)])
    # Through run_together again, so that a signal that comes now does not end us before Slurm is
    # asked.
    last = run_together([Command(requeue.conclusion(run, failure.status if failure else 0), os.environ)])
    status = last.status if last else 0
    if status in (0, Stopped.exit_status):
        return status
    if failure:
        _record(run, f"srun {failure}", rank=None)
    return 1


def _with_local_ranks(run: RunFolder, experiment: Experiment, foreground: bool) -> int:
    world_size = experiment.resources.world_size
    shared = environments.for_python(os.environ, run, experiment) | {
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "NODE_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        LAUNCHER_PID: str(os.getpid()),
    }
    commands = [
        Command(_rank_command(run, foreground), shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(world_size)
    ]
    failure = run_together(commands)
    state = read_state(run)["state"]
    if state == "finished":
        return 0
    if state == "stopped":
        return Stopped.exit_status  # the ranks themselves leave with 0
    if failure and failure.returncode == AtWork.exit_status:
        return AtWork.exit_status
    if failure:
        # A rank that raised has told so itself, better than its exit status can.
        killed = failure.returncode < 0 and state == "failed"
        _record(run, f"rank {failure.index} {failure}", rank=failure.index, even_if_told=killed)
    return 1


def _rank_command(run: RunFolder, foreground: bool) -> list[str]:
    return [sys.executable, "-m", "hpc_dl.cluster.job", str(run.path), *([KEEP_TERMINAL] if foreground else [])]


def _record(run: RunFolder, reason: str, rank: int | None, even_if_told: bool = False) -> None:
    """Write the failure down, unless a rank has: with its own, better reason."""
    if even_if_told or read_state(run)["state"] not in ENDED:
        write_state(run, "failed", reason=reason, rank=rank, log=str(run.log(rank or 0)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
