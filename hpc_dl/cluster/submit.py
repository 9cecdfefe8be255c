"""Submitting a prepared run: to Slurm through submitit, or to the background of this machine."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.cluster import background, dependency, sbatch_options, slurm, slurm_sentences
from hpc_dl.cluster import site as sites
from hpc_dl.cluster.job_environment import outside_of_jobs
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.rank_process import RankTask
from hpc_dl.cluster.reservation import not_used
from hpc_dl.cluster.sbatch_options import ignored_variables
from hpc_dl.cluster.signal_lead import required_lead_s
from hpc_dl.compatibility.checks import check_names, check_versions
from hpc_dl.errors import ClusterError, ConfigError, Fault
from hpc_dl.runs.folder import NAME_CODE_LENGTH, RunFolder
from hpc_dl.runs.predecessors import predecessors
from hpc_dl.runs.state import write_state

if TYPE_CHECKING:
    from hpc_dl.cluster.batch_script import ScriptExecutor
    from hpc_dl.cluster.site import SiteProfile
    from hpc_dl.config.experiment import Experiment

_DRY_RUN_CODE = "x" * NAME_CODE_LENGTH


class MaybeQueued(ClusterError):
    """It is unknown whether Slurm accepted a job, so the folders that it needs must stay."""


def check_site(
    site: str | SiteProfile | None, experiment: Experiment, say: Callable[[str], None], *, dry_run: bool = False
) -> SiteProfile:
    """Return the profile of a site after checking that it takes the experiment.

    Args:
        site: a name, a file, or a profile; ``None`` for the default.
        experiment: the experiment.
        say: prints one line for the user.
        dry_run: whether the script is only shown, for which Slurm need not be here.

    Raises:
        HpcDlError: the profile has faults, the experiment exceeds its limits, or an installed
            package is of an untested version.
    """
    profile = load_site(site, say, dry_run=dry_run)
    profile.check(experiment)
    if not dry_run:
        check_paths_and_modules(profile, say)
    return profile


def check_paths_and_modules(site: SiteProfile, say: Callable[[str], None]) -> None:
    """Check that what the profile names exists here, before a job waits for it in the queue.

    Modules that cannot be loaded are only reported: compute nodes may have others.

    Args:
        site: the site profile.
        say: prints one line for the user.

    Raises:
        ConfigError: a folder cannot be used, or the image or a folder that it binds is missing.
    """
    if not (site.runs_dir or site.data_dir or site.container or site.modules):
        return
    from hpc_dl.cluster.inspection.check import paths_and_modules

    faults = [found for found in paths_and_modules(site) if isinstance(found, Fault)]
    for fault in (fault for fault in faults if fault.where == "modules"):
        say(f"hpc-dl: {fault}")
    if missing := [fault for fault in faults if fault.where != "modules"]:
        raise ConfigError(*missing)


def load_site(site: str | SiteProfile | None, say: Callable[[str], None], *, dry_run: bool = False) -> SiteProfile:
    """Return the profile of a site after checking the packages that a submission uses.

    Args:
        site: as for :func:`check_site`.
        say: likewise.
        dry_run: likewise.

    Raises:
        HpcDlError: the profile has faults, or an installed package is of an untested version.
    """
    check_versions()
    profile = sites.load(site) if site is None or isinstance(site, str) else site
    report_site(profile, say)
    if dry_run or uses_slurm(profile):
        check_names("submitit")
    return profile


def report_site(site: SiteProfile, say: Callable[[str], None]) -> None:
    """Say what a job goes without: a profile, its reservations, variables of the user's shell.

    The variables would change the job; sbatch does not get them.
    """
    if site == sites.SiteProfile() and shutil.which("sbatch"):
        say("hpc-dl: no site profile, so Slurm's defaults apply; `hpc-dl site init` writes one for this cluster")
    if line := not_used(site.reservation):
        say(f"hpc-dl: {line}")
    if site.scheduler != "local" and (ignored := ignored_variables(os.environ)):
        say(
            f"hpc-dl: ignored variables of your shell: {', '.join(ignored)} (`sbatch` in the site profile sets options)"
        )


def submit_run(
    run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None = None
) -> dict[str, Any]:
    """Submit a prepared run; it starts when its predecessors (``after.json``) have finished.

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
            run is deleted.
        MaybeQueued: it is unknown whether Slurm accepted the job; the run is marked as failed.
        RunError: a predecessor has ended without a result.
    """
    write_text(run.site, site.dumps())
    if not uses_slurm(site):
        try:
            dependency.unfinished(predecessors(run))
            return background.start(run, experiment, site)
        except BaseException:
            _delete_if_new(run)
            raise
    facts = {
        "launcher": "slurm",
        **_submit_to_slurm(run, experiment, site, data_dir).facts(),
        "host": socket.gethostname(),
        "submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_json(run.job, facts)
    return facts


def _submit_to_slurm(run: RunFolder, experiment: Experiment, site: SiteProfile, data_dir: Path | None) -> JobId:
    from hpc_dl.cluster.batch_script import executor

    def make() -> ScriptExecutor:
        lead_s = required_lead_s(run.path.parent, experiment.name, run)
        return _after(predecessors(run), executor(run, experiment, site, data_dir, lead_s))

    return sbatch(run, make, experiment, site)


def _after(earlier: Sequence[RunFolder], slurm_executor: ScriptExecutor) -> ScriptExecutor:
    """Add the options with which Slurm starts the job after those of other runs."""
    options = dependency.sbatch_options(dependency.unfinished(earlier), slurm_executor.options)
    slurm_executor.options = {**slurm_executor.options, **options}
    return slurm_executor


def batch_script(
    runs: Path,
    experiment: Experiment,
    site: SiteProfile,
    data_dir: Path | None = None,
    earlier: Sequence[RunFolder] = (),
) -> str:
    """Return the batch script that a submission would send, with a placeholder for the run's name.

    Writes nothing.

    Args:
        runs: folder of all runs.
        experiment: the experiment.
        site: the site profile.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        earlier: the runs that must finish before.

    Raises:
        ClusterError: the path of the runs folder cannot be used in a batch script.
        RunError: an earlier run has ended without a result.
    """
    from hpc_dl.cluster.batch_script import executor

    run = RunFolder(runs.absolute() / f"{experiment.name}-{_DRY_RUN_CODE}")
    return _after(earlier, executor(run, experiment, site, data_dir, required_lead_s(runs, experiment.name))).script()


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


def sbatch(run: RunFolder, make: Callable[[], ScriptExecutor], experiment: Experiment, site: SiteProfile) -> JobId:
    """Send a batch script to Slurm.

    Args:
        run: the folder for the script and its output; deleted if Slurm refuses a new one.
        make: makes the executor.
        experiment: for the remedy where Slurm refuses.
        site: likewise.

    Raises:
        ClusterError: as :func:`submit_run`.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from hpc_dl.cluster.batch_script import JobUnknown

    slurm_executor = None
    try:
        slurm_executor = make()
        # submitit also prints the message of sbatch, which is reported below.
        with _outside_of_jobs(), contextlib.redirect_stderr(io.StringIO()):
            return slurm_executor.send(RankTask(str(run.path)))
    except JobUnknown as error:
        raise _maybe_queued(run, f"sbatch accepted the job, but its answer names none: {str(error)!r}") from None
    except (FailedJobError, FailedSubmissionError) as error:
        message = sbatch_message(str(error))
    except BaseException as error:
        if slurm_executor is None or not slurm_executor.asked:
            _delete_if_new(run)
            raise
        raise _maybe_queued(run, f"the submission was interrupted ({error or type(error).__name__})") from error
    if "timed out" in message:
        raise _maybe_queued(run, f"sbatch did not respond ({message})")
    _delete_if_new(run)
    raise ClusterError.at("sbatch", message, remedy=refusal_remedy(message, experiment, site))


def _maybe_queued(run: RunFolder, problem: str) -> MaybeQueued:
    """The error after which the run keeps its folder, because its job may start."""
    reason = f"{problem}; the job may be queued"
    write_state(run, "failed", reason=reason)
    return MaybeQueued.at("sbatch", reason, remedy=f"check with `squeue --me`; the run folder is {run.path}")


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


def sbatch_message(text: str) -> str:
    """Return the message of sbatch, without the name of the program."""
    lines = [re.sub(r"^\s*sbatch:\s*(error:\s*)?", "", line).strip() for line in text.splitlines()]
    messages = [line.removeprefix("Batch job submission failed: ") for line in lines if line]
    return " – ".join(dict.fromkeys(messages)) or "the job was refused without a reason"


def refusal_remedy(message: str, experiment: Experiment, site: SiteProfile) -> str:
    """Return what to change after Slurm has refused a job with this message."""
    current = {f"resources.{key}": value for key, value in experiment.resources.model_dump().items()}
    current |= {key: getattr(site, key) for key in ("account", "partition", "qos", "constraint", "gpu_type")}
    current["reservation"] = site.current_reservation()
    decided = {*site.sbatch, *(key for key, value in current.items() if value is not None)}
    remedy = slurm_sentences.remedy(
        message, current | ({"sbatch": site.sbatch} if site.sbatch else {}), slurm.partitions
    )
    variables = ", ".join(sbatch_options.deciding_variables(os.environ, decided))
    return f"{remedy}; your shell sets {variables}" if variables else remedy
