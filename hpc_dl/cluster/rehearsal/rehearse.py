"""How a rehearsal proceeds: two short runs, one of them interrupted by a real signal, compared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import signal_lead, status
from hpc_dl.cluster.job_id import JobId
from hpc_dl.cluster.prepare import prepare
from hpc_dl.cluster.rehearsal.interruption import interrupt, is_finished
from hpc_dl.cluster.rehearsal.report import Report, Timeline, compare, durations
from hpc_dl.cluster.rehearsal.short_experiment import STEPS, STEPS_BEFORE_SIGNAL, shortened
from hpc_dl.cluster.rehearsal.stages import StageFailed, Stages
from hpc_dl.cluster.submit import submit_run, uses_slurm
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import HpcDlError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.stopping.rehearsal import file

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile


def rehearse_experiment(
    experiment: Experiment,
    site: SiteProfile,
    *,
    runs: Path,
    data_dir: Path | None,
    command: list[str],
    timeout_s: float,
    say: Callable[[str], None],
) -> Report:
    """Submit two short runs, interrupt one of them, wait for both, and compare them.

    Args:
        experiment: as written by the user.
        site: the site profile.
        runs: folder of all runs; those of the rehearsal are kept.
        data_dir: folder of the shipped data sources; ``None`` for the default.
        command: the command line, for the provenance.
        timeout_s: the longest time to wait for one stage, such as the start of a job.
        say: prints one line for the user.

    Raises:
        HpcDlError: the user must fix something before the rehearsal can start.
        KeyboardInterrupt: passed on; both runs are cancelled then.
    """
    short = shortened(experiment)
    with_slurm = uses_slurm(site)
    report = Report(experiment.name)
    times = Timeline()
    stages = Stages(say, timeout_s)
    submitted: list[RunFolder] = []

    def submit(role: str, hold_at_step: int | None = None) -> RunFolder:
        run = prepare(short, runs=runs, data_dir=data_dir, command=command, say=say)
        if hold_at_step is not None:
            write_json(file(run), {"hold_at_step": hold_at_step})
        submitted.append(run)
        facts = submit_run(run, short, site, data_dir)
        job = job_id.description if (job_id := JobId.of(facts)) else f"process {facts['pid']}"
        say(f"Submitted the {role} run {run.name} ({job})")
        return run

    try:
        report.interrupted = interrupted = submit("interrupted", STEPS_BEFORE_SIGNAL)
        if with_slurm:  # without Slurm both would have to share the devices of this machine
            report.uninterrupted = submit("uninterrupted")
        interrupt(interrupted, report, times, stages)
        report.uninterrupted = uninterrupted = report.uninterrupted or submit("uninterrupted")
        stages.wait_for(uninterrupted, f"the {STEPS} steps of the uninterrupted run", is_finished)
        compare(interrupted, uninterrupted, report, short)
    except StageFailed as failure:
        report.problems.append(str(failure))
    except BaseException:
        say("Cancelling the jobs of the rehearsal")
        raise
    finally:
        for run in submitted:
            # Fails if the run was never launched or Slurm does not respond; then the short time
            # limit ends it.
            with suppress(HpcDlError):
                status.cancel(run)
    report.seconds = durations(interrupted, report.uninterrupted, times)
    report.lead_s = signal_lead.required_lead_s(runs, experiment.name)
    shortage = signal_lead.time_limit_warning(experiment.resources.minutes, report.lead_s)
    report.warnings += [shortage] if shortage else []
    timings = signal_lead.timings_of(interrupted)
    report.warnings += signal_lead.grace_warnings(timings, site.partition) if timings and with_slurm else []
    return report
