"""Handing a prepared run over: to Slurm through submitit, or to a background process where there is
no Slurm.
"""

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
from hpc_dl.cluster import local, slurm
from hpc_dl.cluster.environment import outside_of_jobs
from hpc_dl.cluster.job import Job
from hpc_dl.cluster.signal_lead import lead_s
from hpc_dl.config import yaml
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

_NAME_IN_A_DRY_RUN = "YYYYMMDD-HHMMSS-xxxx"


def submit_run(
    run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None = None
) -> dict[str, Any]:
    """Submit a prepared run.

    Args:
        run: the run folder.
        experiment: what it was prepared from.
        site: what the cluster needs; kept in the run folder.
        data_dir: where shipped data sources are kept; ``None`` for the default.

    Returns:
        The content of ``job.json``: launcher (``slurm`` or ``local``), job or process id, host,
        time.

    Raises:
        ClusterError: Slurm refuses the job, with Slurm's own sentence; the folder of a run that
            never began is gone then, or, where nobody can know whether Slurm took the job, marked
            as failed.
    """
    write_text(run.site, yaml.dumps(site.model_dump(mode="json", exclude_defaults=True)))
    if not uses_slurm(site):
        return local.start(run, experiment, site)
    facts = {
        "launcher": "slurm",
        "job_id": _sbatch(run, experiment, site, data_dir),
        "host": socket.gethostname(),
        "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_json(run.job, facts)
    return facts


def batch_script(runs: Path, experiment: Experiment, site: SiteProfile, data_dir: Path | None = None) -> str:
    """The batch script that a submission would send, under a placeholder for the run's name;
    nothing is written.

    Args:
        runs: folder of all runs.
        experiment: what to train.
        site: what the cluster needs.
        data_dir: where shipped data sources are kept; ``None`` for the default.

    Raises:
        ClusterError: the path of the runs folder cannot be written into a batch script.
    """
    from hpc_dl.cluster.batch import executor

    run = RunFolder(runs.absolute() / f"{experiment.name}-{_NAME_IN_A_DRY_RUN}")
    return executor(run, experiment, site, data_dir, lead_s(runs, experiment.name)).script()


def uses_slurm(site: SiteProfile) -> bool:
    """Whether runs of this site go to Slurm, rather than to the background of this machine.

    Raises:
        ClusterError: the profile wants Slurm, and this machine has none.
    """
    found = shutil.which("sbatch") is not None
    if site.scheduler == "slurm" and not found:
        raise ClusterError.at(
            "sbatch", "is not found, but the site's scheduler is slurm", remedy="submit on a login node of the cluster"
        )
    return found and site.scheduler != "local"


def _sbatch(run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None) -> str:
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from hpc_dl.cluster.batch import executor

    try:
        sender = executor(run, experiment, site, data_dir, lead_s(run.path.parent, experiment.name, run))
        # submitit prints what sbatch says of a refusal; it is told below, once.
        with _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            return str(sender.submit(Job(str(run.path))).job_id)
    except (FailedJobError, FailedSubmissionError) as error:
        said = _last_sentence(str(error))
    except BaseException:
        _discard(run)
        raise
    if "timed out" in said:
        reason = f"sbatch had no answer ({said}); the job may be queued all the same"
        write_state(run, "failed", reason=reason)
        raise ClusterError.at("sbatch", reason, remedy=f"look with `squeue --me`; the run folder is {run.path}")
    _discard(run)
    raise ClusterError.at("sbatch", said, remedy=_remedy(said, experiment, site))


def _discard(run: RunFolder) -> None:
    """Delete the folder of a run that never began; one that is to be resumed keeps its checkpoints."""
    if not run.state.exists():
        shutil.rmtree(run.path, ignore_errors=True)


@contextlib.contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the Slurm job or launcher that we run in from sbatch; submitit passes our own
    environment on.
    """
    whole = dict(os.environ)
    kept = outside_of_jobs(whole)
    for name in whole.keys() - kept.keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(whole)


def _last_sentence(text: str) -> str:
    """Slurm's reason, without the program's name before it."""
    lines = [re.sub(r"^\s*sbatch:\s*(error:\s*)?", "", line).strip() for line in text.splitlines()]
    told = [line.removeprefix("Batch job submission failed: ") for line in lines if line]
    return " – ".join(dict.fromkeys(told)) or "the job was refused without a reason"


def _remedy(said: str, experiment: Experiment, site: SiteProfile) -> str:
    low = said.lower()
    if "partition" in low and "invalid" in low:
        there = ", ".join(slurm.partitions()) or "see sinfo"
        return f"set `partition` in the site profile (now {site.partition!r}) to one of: {there}"
    if "account" in low:
        return (
            f"set `account` (now {site.account!r}) and `partition` in the site profile to a pair that you may use; "
            "`sacctmgr show associations user=$USER` lists them"
        )
    if "qos" in low:
        return f"set `qos` in the site profile (now {site.qos!r}); `sacctmgr show qos` lists them"
    if "constraint" in low or "feature" in low:
        return f"set `constraint` in the site profile (now {site.constraint!r}); `sinfo -o %f` lists the features"
    if "reservation" in low:
        return (
            f"set `reservation` in the site profile (now {site.reservation!r}); `scontrol show reservation` lists them"
        )
    if "time limit" in low:
        return f"ask for less than resources.time={experiment.resources.time}; `sinfo -o '%P %l'` shows the limits"
    if "node configuration" in low or "gres" in low or "node count" in low or "cpu" in low or "memory" in low:
        asked = experiment.resources
        return (
            f"no node has what is asked for (nodes={asked.nodes}, gpus_per_node={asked.gpus_per_node}, "
            f"cpus_per_gpu={asked.cpus_per_gpu}, memory={asked.memory}); `sinfo -N -o '%N %c %m %G'` shows the nodes"
        )
    if "unable to contact" in low:
        return "Slurm's controller is down or out of reach; try later, or here without Slurm: --site local"
    return "see `hpc-dl submit --dry-run` for what was sent"
