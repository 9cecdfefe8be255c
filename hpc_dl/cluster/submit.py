"""Submitting a prepared run: to Slurm through submitit, or to the background of this machine."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.cluster import background, slurm
from hpc_dl.cluster.job_environment import outside_of_jobs
from hpc_dl.cluster.rank_process import RankTask
from hpc_dl.cluster.signal_lead import required_lead_s
from hpc_dl.config import yaml
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

_DRY_RUN_STAMP = "YYYYMMDD-HHMMSS-xxxx"


def submit_run(
    run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None = None
) -> dict[str, Any]:
    """Submit a prepared run.

    Args:
        run: the run folder.
        experiment: the run's experiment.
        site: the site profile; saved in the run folder.
        data_dir: folder of the shipped data sources; ``None`` for the default.

    Returns:
        The content of ``job.json``: launcher (``slurm`` or ``local``), job or process id, host,
        time.

    Raises:
        ClusterError: Slurm refuses the job; the message is Slurm's own, and the folder of a new
            run is deleted. If it is unknown whether Slurm accepted the job, the run is marked as
            failed instead.
    """
    write_text(run.site, yaml.dumps(site.model_dump(mode="json", exclude_defaults=True)))
    if not uses_slurm(site):
        return background.start(run, experiment, site)
    facts = {
        "launcher": "slurm",
        "job_id": _sbatch(run, experiment, site, data_dir),
        "host": socket.gethostname(),
        "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_json(run.job, facts)
    return facts


def batch_script(runs: Path, experiment: Experiment, site: SiteProfile, data_dir: Path | None = None) -> str:
    """Return the batch script that a submission would send, with a placeholder for the run's name.

    Writes nothing.

    Args:
        runs: folder of all runs.
        experiment: the experiment.
        site: the site profile.
        data_dir: folder of the shipped data sources; ``None`` for the default.

    Raises:
        ClusterError: the path of the runs folder cannot be used in a batch script.
    """
    from hpc_dl.cluster.batch_script import executor

    run = RunFolder(runs.absolute() / f"{experiment.name}-{_DRY_RUN_STAMP}")
    return executor(run, experiment, site, data_dir, required_lead_s(runs, experiment.name)).script()


def uses_slurm(site: SiteProfile) -> bool:
    """Return whether runs of this site go to Slurm instead of the background of this machine.

    Raises:
        ClusterError: the profile requires Slurm, but this machine has none.
    """
    has_sbatch = shutil.which("sbatch") is not None
    if site.scheduler == "slurm" and not has_sbatch:
        raise ClusterError.at(
            "sbatch", "was not found, but the site's scheduler is slurm", remedy="submit on a login node of the cluster"
        )
    return has_sbatch and site.scheduler != "local"


def _sbatch(run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None) -> str:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from hpc_dl.cluster.batch_script import executor

    try:
        lead_s = required_lead_s(run.path.parent, experiment.name, run)
        slurm_executor = executor(run, experiment, site, data_dir, lead_s)
        # submitit also prints the message of sbatch, which is reported below.
        with _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            return str(slurm_executor.submit(RankTask(str(run.path))).job_id)
    except (FailedJobError, FailedSubmissionError) as error:
        message = _sbatch_message(str(error))
    except BaseException:
        _delete_if_new(run)
        raise
    if "timed out" in message:
        reason = f"sbatch did not respond ({message}); the job may be queued anyway"
        write_state(run, "failed", reason=reason)
        raise ClusterError.at("sbatch", reason, remedy=f"check with `squeue --me`; the run folder is {run.path}")
    _delete_if_new(run)
    raise ClusterError.at("sbatch", message, remedy=_remedy(message, experiment, site))


def _delete_if_new(run: RunFolder) -> None:
    """Delete the folder of a run that never started; a resumed run keeps its checkpoints."""
    if not run.state.exists():
        shutil.rmtree(run.path, ignore_errors=True)


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the Slurm job or launcher that we run in from sbatch, which inherits our environment."""
    original = dict(os.environ)
    kept = outside_of_jobs(original)
    for name in original.keys() - kept.keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(original)


def _sbatch_message(text: str) -> str:
    """The message of sbatch, without the name of the program."""
    lines = [re.sub(r"^\s*sbatch:\s*(error:\s*)?", "", line).strip() for line in text.splitlines()]
    messages = [line.removeprefix("Batch job submission failed: ") for line in lines if line]
    return " – ".join(dict.fromkeys(messages)) or "the job was refused without a reason"


def _remedy(message: str, experiment: Experiment, site: SiteProfile) -> str:
    message = message.lower()
    if "partition" in message and "invalid" in message:
        partitions = ", ".join(slurm.partitions()) or "see sinfo"
        return f"set `partition` in the site profile (now {site.partition!r}) to one of: {partitions}"
    if "account" in message:
        return (
            f"set `account` (now {site.account!r}) and `partition` in the site profile to a combination that you "
            "may use; `sacctmgr show associations user=$USER` lists them"
        )
    if "qos" in message:
        return f"set `qos` in the site profile (now {site.qos!r}); `sacctmgr show qos` lists them"
    if "constraint" in message or "feature" in message:
        return f"set `constraint` in the site profile (now {site.constraint!r}); `sinfo -o %f` lists the features"
    if "reservation" in message:
        return (
            f"set `reservation` in the site profile (now {site.reservation!r}); `scontrol show reservation` lists them"
        )
    if "time limit" in message:
        return f"request less than resources.time={experiment.resources.time}; `sinfo -o '%P %l'` shows the limits"
    if (
        "node configuration" in message
        or "gres" in message
        or "node count" in message
        or "cpu" in message
        or "memory" in message
    ):
        resources = experiment.resources
        return (
            f"no node has what is requested (nodes={resources.nodes}, gpus_per_node={resources.gpus_per_node}, "
            f"cpus_per_gpu={resources.cpus_per_gpu}, memory={resources.memory}); "
            "`sinfo -N -o '%N %c %m %G'` shows the nodes"
        )
    if "unable to contact" in message:
        return "Slurm's controller is unreachable; try again later, or run on this machine with --site local"
    return "`hpc-dl submit --dry-run` shows the batch script that was sent"
