"""The Slurm allocation that ``hpc-dl train`` may run in, and what it determines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from hpc_dl.cluster import slurm
from hpc_dl.cluster.job_id import JobId
from hpc_dl.errors import ClusterError, HpcDlError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import redact
from hpc_dl.runs.run_files import read_job, read_provenance
from hpc_dl.runs.search import all_runs

# Slurm numbers ordinary steps from 0 and gives special steps, such as the shell of an salloc, a
# reserved number.
_FIRST_RESERVED_STEP = 0xFFFFFFF0


def in_batch_script(environment: Mapping[str, str]) -> bool:
    """Whether this is the shell of an allocation (sbatch, salloc), from which srun starts ranks."""
    step = int(environment.get("SLURM_STEP_ID", _FIRST_RESERVED_STEP))
    return "SLURM_JOB_ID" in environment and step >= _FIRST_RESERVED_STEP and shutil.which("srun") is not None


def allocation_overrides(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the resources of the allocation as ``resources.…=`` overrides; none outside of one.

    So ``sbatch --nodes=2 slurm/train.sbatch CONFIG`` trains on two nodes, whatever the YAML says.

    Raises:
        ClusterError: srun has started several of us, the allocation has fewer CPU cores than GPUs,
            or a variable of Slurm has a value that it never sets.
    """
    refuse_several_tasks(environment)
    if "SLURM_JOB_ID" not in environment:
        return []
    # In `srun --pty` only this node can be used, however many nodes the job has.
    nodes = _number(environment, "SLURM_JOB_NUM_NODES", 1) if in_batch_script(environment) else 1
    gpus = _number(environment, "SLURM_GPUS_ON_NODE") or _gpus_per_node(environment.get("SLURM_GPUS_PER_NODE", ""))
    overrides = [f"resources.nodes={nodes}", f"resources.gpus_per_node={gpus}"]
    if cpus := _number(environment, "SLURM_CPUS_ON_NODE"):
        if cpus < gpus:
            raise ClusterError.at(
                "Slurm",
                f"the allocation has {cpus} CPU cores on this node, fewer than its {gpus} GPUs, which have one rank "
                "each",
                remedy="request more cores with --cpus-per-gpu=4",
            )
        overrides.append(f"resources.cpus_per_gpu={cpus // max(1, gpus)}")
    mebibytes = _number(environment, "SLURM_MEM_PER_NODE")
    mebibytes = mebibytes or _number(environment, "SLURM_MEM_PER_CPU") * cpus
    if mebibytes := mebibytes or _number(environment, "SLURM_MEM_PER_GPU") * gpus:
        overrides.append(f"resources.memory={mebibytes}M")
    return overrides


def _number(environment: Mapping[str, str], name: str, default: int = 0) -> int:
    """A number that Slurm sets.

    Raises:
        ClusterError: something else has set it: users set some of these as defaults of srun.
    """
    text = environment.get(name, "") or str(default)
    if not text.isdecimal():
        raise ClusterError.at(
            name, "is not the number that Slurm sets in a job", value=text, remedy=f"unset {name} in your shell's files"
        )
    return int(text)


def _gpus_per_node(text: str) -> int:
    """The GPUs in the syntax of ``--gpus-per-node``: ``2``, ``a100:2``, ``a100`` or several."""
    counts = [part.rpartition(":")[2] for part in text.split(",") if part]
    return sum(int(count) if count.isdecimal() else 1 for count in counts)


def run_before_requeue(
    runs: Path, command: Sequence[str], environment: Mapping[str, str] = os.environ
) -> RunFolder | None:
    """Return the run that this job started before it was requeued, to continue it; ``None`` if new.

    Args:
        runs: folder of all runs.
        command: our command line; a batch script may train several experiments one after another.
        environment: the job's environment.

    Raises:
        RunError: hpc_dl was updated in the meantime and can no longer open the run's folder.
    """
    if int(environment.get("SLURM_RESTART_COUNT", "0")) == 0 or not in_batch_script(environment):
        return None
    this_job = slurm.this_job(environment)
    for run in reversed(list(all_runs(runs))):
        try:
            job = read_job(run)
        except (HpcDlError, OSError):  # another run's folder is damaged, or someone else's
            continue
        if job.get("launcher") == "sbatch" and JobId.of(job) == this_job:
            original_command = read_provenance(run).get("command")
            if original_command == [redact(argument) for argument in command]:
                run.checked()
                return run
    return None


def refuse_several_tasks(environment: Mapping[str, str]) -> None:
    """Check that srun has not started several copies of this process.

    Raises:
        ClusterError: it has.
    """
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        raise ClusterError.at(
            "srun",
            "hpc-dl was started several times",
            value=f"{environment['SLURM_STEP_NUM_TASKS']} tasks",
            remedy="run hpc-dl train without srun: it starts its own ranks",
        )
