"""The batch script of a run, written by submitit: #SBATCH lines, environment, command."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from hpc_dl.cluster import requeue, signal_lead
from hpc_dl.cluster.job_environment import import_folders
from hpc_dl.cluster.site import Container, SiteProfile, expand
from hpc_dl.data.sources import path_of
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


class ScriptExecutor(submitit.SlurmExecutor):
    """submitit's Slurm executor, which can also write its script without Slurm (``--dry-run``)."""

    @classmethod
    def affinity(cls) -> int:
        """Return a positive value: usable on every machine; only submitting needs Slurm."""
        return 2

    def script(self) -> str:
        """Return the batch script that a submission sends to sbatch."""
        # The same calls that submitit makes when it submits; a test on a real Slurm compares the
        # two scripts.
        return str(self._make_submission_file_text(self._submitit_command_str, ""))


def executor(
    run: RunFolder,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
    lead_s: int = signal_lead.DEFAULT_LEAD_S,
) -> ScriptExecutor:
    """Return the executor that submits a run or writes its script; creates no folder.

    Args:
        run: the run folder; need not exist.
        experiment: the experiment, as written by the user or with its data resolved.
        site: the site profile.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        lead_s: seconds between the warning signal and the time limit; at most half of the limit
            is used.

    Raises:
        ClusterError: the run's path cannot be used in a batch script.
        ConfigError: a path of the profile contains a variable that is not set.
    """
    # Special characters of #SBATCH lines, and the separators of apptainer's --bind.
    forbidden = "\n\r%\"'\\" + (",:" if site.container else "")
    if characters := set(forbidden) & set(str(run.path)):
        raise ClusterError.at(
            run.path.parent,
            f"the path of a runs folder for Slurm must not contain {' or '.join(map(repr, sorted(characters)))}",
            remedy="choose another folder with --runs DIR",
        )
    slurm = ScriptExecutor(folder=run.submitit, python=_python(run, experiment, site, data_dir))
    slurm.update_parameters(**_parameters(run, experiment, site, lead_s))
    return slurm


def _parameters(run: RunFolder, experiment: Experiment, site: SiteProfile, lead_s: int) -> dict[str, Any]:
    resources = experiment.resources
    parameters: dict[str, Any] = {
        "job_name": experiment.name,
        "nodes": resources.nodes,
        # Not --ntasks: Lightning rejects it, and it does not define the number of ranks per node.
        "ntasks_per_node": resources.ranks_per_node,
        "cpus_per_task": resources.cpus_per_gpu,
        "mem": f"{round(resources.memory_gib * 1024)}M",
        "time": resources.minutes,
        "stderr_to_stdout": True,
        "wckey": None,  # sites that check wckeys would refuse submitit's default
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "exclusive": site.exclusive or None,
        # Where JobRequeue=0 is set, as on many sites, Slurm requeues only jobs with --requeue.
        "additional_parameters": {"requeue": True} | ({"reservation": site.reservation} if site.reservation else {}),
        "signal_delay_s": signal_lead.granted_lead_s(resources.minutes, lead_s),
        "setup": [*_setup(run, experiment, site), *requeue.setup_lines(run)],
        "teardown": requeue.teardown_lines(),
        # --cpus-per-task: in many versions of Slurm srun does not inherit it from sbatch. --export:
        # SBATCH_EXPORT in the user's shell would hide the variables set above from the ranks.
        "srun_args": [f"--cpus-per-task={resources.cpus_per_gpu}", "--kill-on-bad-exit=1", "--export=ALL"],
    }
    if resources.gpus_per_node:
        gpu_type = f"{site.gpu_type}:" if site.gpu_type else ""
        parameters["gpus_per_node"] = f"{gpu_type}{resources.gpus_per_node}"
    return parameters


def _setup(run: RunFolder, experiment: Experiment, site: SiteProfile) -> list[str]:
    """The shell lines before the command; everything except ``site.setup`` is quoted."""
    lines = []
    if site.modules:
        lines.append(f"module load {shlex.join(site.modules)} || exit 1")
    lines += site.setup
    lines += [f"export {name}={shlex.quote(value)}" for name, value in site.environment.items()]
    first, last = import_folders(run, experiment)
    after = f":{shlex.quote(last)}" if last else ""
    return [
        *lines,
        f"export PYTHONPATH={shlex.quote(first)}${{PYTHONPATH:+:$PYTHONPATH}}{after}",
        "export PYTHONSAFEPATH=1  # do not import from the current folder, which may have been edited",
        'export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"',
    ]


def _python(run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None) -> str:
    """The shell command that starts Python on a node."""
    if site.container is None:
        return shlex.quote(sys.executable)
    return shlex.join(_in_container(site.container, run, experiment, data_dir))


def _in_container(container: Container, run: RunFolder, experiment: Experiment, data_dir: Path | None) -> list[str]:
    data = experiment.data
    file = Path(data.file) if data.file else path_of(data.source or "", data_dir)
    binds = [str(run.path), str(file.absolute().parent), *map(os.path.expandvars, container.binds)]
    command = ["apptainer", "exec"]
    if experiment.resources.gpus_per_node:
        command.append("--nv")
    for bind in dict.fromkeys(binds):
        command += ["--bind", bind]
    # Without the PYTHONPATH outside: the packages that site modules add to it are for another
    # Python.
    first, last = import_folders(run, experiment)
    command += ["--env", f"PYTHONPATH={first}:{last}" if last else f"PYTHONPATH={first}"]
    return [*command, *container.args, str(expand("container.image", container.image)), "python"]
