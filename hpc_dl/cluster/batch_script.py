"""The batch script of a run, written by submitit: #SBATCH lines, environment, command."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import submitit

from hpc_dl.cluster import requeue, sbatch_options, signal_lead
from hpc_dl.cluster.container import python_in_container
from hpc_dl.cluster.job_environment import RANK_VARIABLES
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.data.staging.scratch import SCRATCH
from hpc_dl.errors import ClusterError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.import_folders import import_folders

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


@dataclass(frozen=True)
class RankCommand:
    """What a batch script runs instead of submitit's command: shell code that may use variables.

    Attributes:
        arguments: the arguments of Python.
        output: the file for what the ranks print before their logs start.
    """

    arguments: str
    output: str


class JobUnknown(Exception):
    """sbatch accepted a job, but did not report which one; the message is what it printed."""


class ScriptExecutor(submitit.SlurmExecutor):
    """submitit's Slurm executor, with our reading of sbatch's answer and any option of sbatch.

    It can also write its script without Slurm (``--dry-run``).

    Attributes:
        options: changes to the ``#SBATCH`` lines; see :func:`sbatch_options.changed`.
        rank_command: what the ranks run; ``None`` for the task that is submitted.
        asked: whether sbatch was started; from then on, there may be a job.
        submitted: the job of the last submission.
    """

    options: Mapping[str, str | None] = {}
    rank_command: RankCommand | None = None
    asked = False
    submitted: JobId | None = None

    @classmethod
    def affinity(cls) -> int:
        """Return a positive value: usable on every machine; only submitting needs Slurm."""
        return 2

    def script(self) -> str:
        """Return the batch script that a submission sends to sbatch."""
        # The same calls that submitit makes when it submits; a test on a real Slurm compares the
        # two scripts.
        return self._make_submission_file_text(self._submitit_command_str, "")

    def send(self, task: Callable[[], None]) -> JobId:
        """Send the batch script to sbatch.

        Args:
            task: what each rank calls, if there is no ``rank_command``.

        Raises:
            JobUnknown: the answer of sbatch names no job.
        """
        if self.rank_command is None:
            self.submit(task)
        else:
            Path(self.folder).mkdir(parents=True, exist_ok=True)
            self._submit_command(self._submitit_command_str)
        assert self.submitted is not None
        return self.submitted

    @property
    def _submitit_command_str(self) -> str:
        if self.rank_command is None:
            return str(super()._submitit_command_str)
        return f"{self.python} {self.rank_command.arguments}"

    def _make_submission_file_text(self, command: str, uid: str) -> str:
        text = str(super()._make_submission_file_text(command, uid))
        if self.rank_command is not None:
            text = text.replace(shlex.quote(f"{self.folder}/%j_%t_log.out"), self.rank_command.output)
        return sbatch_options.changed(text, self.options)

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        self.asked = True
        return list(super()._make_submission_command(submission_file_path))

    def _get_job_id_from_submission_command(self, string: bytes | str) -> str:  # type: ignore[override]
        output = string if isinstance(string, str) else string.decode(errors="replace")
        self.submitted = JobId.from_sbatch(output)
        if self.submitted is None:
            raise JobUnknown(" ".join(output.split()))
        return self.submitted.number  # names submitit's files as the job will see it


def executor(
    run: RunFolder,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None,
    lead_s: int = signal_lead.DEFAULT_LEAD_S,
    shared: Path | None = None,
) -> ScriptExecutor:
    """Return the executor that submits a run or writes its script; creates no folder.

    Args:
        run: the run folder; need not exist.
        experiment: the experiment, as written by the user or with its data resolved.
        site: the site profile.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        lead_s: seconds between the warning signal and the time limit; at most half of the limit
            is used.
        shared: a folder with the run and its code, to be visible in a container instead of these.

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
    slurm = ScriptExecutor(folder=run.submitit, python=_python(run, experiment, site, data_dir, shared))
    slurm.update_parameters(**_parameters(run, experiment, site, lead_s))
    slurm.options = _changes(experiment, site)
    if site.notify is not None and shared is None:  # not each member of a sweep
        slurm.parameters["setup"] += site.notify.setup_lines()
        slurm.options |= site.notify.sbatch_options()
    return slurm


def _changes(experiment: Experiment, site: SiteProfile) -> dict[str, str | None]:
    """The changes to submitit's #SBATCH lines; those of the profile replace those of the shell."""
    changes = sbatch_options.for_resources(site.sbatch, experiment.resources)
    written = {name for name in ("account", "partition", "qos", "constraint") if getattr(site, name)}
    written |= {"reservation"} if site.current_reservation() else set()
    chosen = sbatch_options.places(os.environ)
    return {name: value for name, value in chosen.items() if name not in written} | changes


def _parameters(run: RunFolder, experiment: Experiment, site: SiteProfile, lead_s: int) -> dict[str, Any]:
    resources = experiment.resources
    reservation = site.current_reservation()
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
        "additional_parameters": {"requeue": True} | ({"reservation": reservation} if reservation else {}),
        "signal_delay_s": signal_lead.granted_lead_s(resources.minutes, lead_s),
        "setup": [*_setup(run, experiment, site), *requeue.setup_lines(run)],
        "teardown": requeue.teardown_lines(_grow(experiment, site)),
        # --cpus-per-task: in many versions of Slurm srun does not inherit it from sbatch. --export:
        # SBATCH_EXPORT in the user's shell would hide the variables set above from the ranks.
        "srun_args": [*cpus_of_a_rank(experiment, site), "--kill-on-bad-exit=1", "--export=ALL"],
    }
    if resources.gpus_per_node:
        gpu_type = f"{site.gpu_type}:" if site.gpu_type else ""
        parameters["gpus_per_node"] = f"{gpu_type}{resources.gpus_per_node}"
    return parameters


def _grow(experiment: Experiment, site: SiteProfile) -> str:
    """The command after the ranks that ran out of memory; in a container there is no sbatch."""
    if experiment.resources.on_oom != "grow" or site.container is not None:
        return ""
    return f"{shlex.quote(sys.executable)} -m hpc_dl.failures.grow"


def cpus_of_a_rank(experiment: Experiment, site: SiteProfile) -> list[str]:
    """Return the option of srun; none if the profile requests CPU cores in another way."""
    changes = sbatch_options.for_resources(site.sbatch, experiment.resources)
    cpus = changes.get("cpus-per-task", str(experiment.resources.cpus_per_gpu))
    return [f"--cpus-per-task={cpus}"] if cpus else []


def _setup(run: RunFolder, experiment: Experiment, site: SiteProfile) -> list[str]:
    """The shell lines before the command; everything except ``site.setup`` is quoted."""
    lines = []
    if site.modules:
        lines.append(f"module load {shlex.join(site.modules)} || exit 1")
    lines += site.setup
    lines += [f"export {name}={shlex.quote(value)}" for name, value in site.environment.items()]
    if experiment.data.stage == "node":
        lines += _scratch_lines(site)
    first, last = import_folders(run, experiment)
    after = f":{shlex.quote(last)}" if last else ""
    return [
        *lines,
        f"unset {' '.join(RANK_VARIABLES)}  # srun sets the ranks",
        f"export PYTHONPATH={shlex.quote(first)}${{PYTHONPATH:+:$PYTHONPATH}}{after}",
        "export PYTHONSAFEPATH=1  # do not import from the current folder, which may have been edited",
        'export HDF5_USE_FILE_LOCKING="${HDF5_USE_FILE_LOCKING:-FALSE}"',
    ]


def _scratch_lines(site: SiteProfile) -> list[str]:
    """The shell lines for the scratch folder of the nodes, which must be visible in a container."""
    folder = site.scratch_dir or "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}"
    lines = [f'export {SCRATCH}="{folder}"']
    if site.container is not None:
        binds = f'"${{APPTAINER_BIND:+$APPTAINER_BIND,}}${SCRATCH}"'
        lines.append(f"[[ ! -d ${SCRATCH} ]] || export APPTAINER_BIND={binds}")
    return lines


def _python(
    run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None, shared: Path | None
) -> str:
    """The shell command that starts Python on a node."""
    if site.container is None:
        return shlex.quote(sys.executable)
    return shlex.join(python_in_container(site.container, run, experiment, data_dir, shared))
