"""The batch script of a run: its #SBATCH lines, its environment, its command; submitit writes it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from hpc_dl.cluster import requeue
from hpc_dl.cluster.environment import import_folders
from hpc_dl.cluster.site import Container, SiteProfile, expand
from hpc_dl.data.sources import path_of
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


class ScriptExecutor(submitit.SlurmExecutor):
    """submitit's executor for Slurm, which can also write its script where there is no Slurm
    (``--dry-run``).
    """

    @classmethod
    def affinity(cls) -> int:
        """Usable on every machine; only submission needs Slurm's commands."""
        return 2

    def script(self) -> str:
        """The text that a submission sends to sbatch."""
        # The very calls that submitit makes when it submits; a test on a real Slurm compares the
        # two texts.
        return str(self._make_submission_file_text(self._submitit_command_str, ""))


def executor(
    run: RunFolder,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
    lead_s: int = requeue.DEFAULT_LEAD_S,
) -> ScriptExecutor:
    """The executor that submits this run, or writes its script; makes no folder.

    Args:
        run: the run folder; need not exist.
        experiment: what to train, as the user wrote it or with its data resolved.
        site: what the cluster needs.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        lead_s: seconds between Slurm's warning and the time limit; at most half of the limit is
            used.

    Raises:
        ClusterError: the run's path cannot be written into a batch script.
        ConfigError: a path of the profile holds a variable that is not set.
    """
    # Patterns and quotes of #SBATCH lines; the separators of apptainer's --bind.
    forbidden = "\n\r%\"'\\" + (",:" if site.container else "")
    if bad := set(forbidden) & set(str(run.path)):
        raise ClusterError.at(
            run.path.parent,
            f"a runs folder for Slurm cannot have {' or '.join(map(repr, sorted(bad)))} in its path",
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
        # Never --ntasks: Lightning refuses it, and it does not say how many of them go to a node.
        "ntasks_per_node": resources.ranks_per_node,
        "cpus_per_task": resources.cpus_per_gpu,
        "mem": f"{round(resources.memory_gib * 1024)}M",
        "time": resources.minutes,
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own default would be refused where wckeys are checked
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "constraint": site.constraint,
        "exclusive": site.exclusive or None,
        # Many sites have JobRequeue=0; without --requeue Slurm then refuses what the end of the
        # script asks for.
        "additional_parameters": {"requeue": True} | ({"reservation": site.reservation} if site.reservation else {}),
        "signal_delay_s": requeue.lead_seconds(resources.minutes, lead_s),
        "setup": [*_setup(run, experiment, site), *requeue.before(run)],
        "teardown": requeue.after(),
        # srun does not take --cpus-per-task over from sbatch in many versions of Slurm; --export,
        # because SBATCH_EXPORT in a user's shell would keep the lines above from the ranks.
        "srun_args": [f"--cpus-per-task={resources.cpus_per_gpu}", "--kill-on-bad-exit=1", "--export=ALL"],
    }
    if resources.gpus_per_node:
        kind = f"{site.gpu_type}:" if site.gpu_type else ""
        parameters["gpus_per_node"] = f"{kind}{resources.gpus_per_node}"
    return parameters


def _setup(run: RunFolder, experiment: Experiment, site: SiteProfile) -> list[str]:
    """The shell lines before the command. Nothing but ``site.setup`` gets there unquoted."""
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
        "export PYTHONSAFEPATH=1  # the current folder, with its edits, is not imported from",
        'export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"',
    ]


def _python(run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None) -> str:
    """The shell words that start Python on a node."""
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
    # Not the PYTHONPATH outside: what a site's modules put there was built for another Python.
    first, last = import_folders(run, experiment)
    command += ["--env", f"PYTHONPATH={first}:{last}" if last else f"PYTHONPATH={first}"]
    return [*command, *container.args, str(expand("container.image", container.image)), "python"]
