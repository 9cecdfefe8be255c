"""``hpc-dl rehearse``: test on the user's own cluster that an interrupted run resumes by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, RunsDir, Site

if TYPE_CHECKING:
    from hpc_dl.cluster.rehearse import Report

_DURATIONS = {
    "queue_wait": "in the queue",
    "start_to_first_step": "start to the end of the first step",
    "step": "one step",
    "checkpoint": "longest time to write a checkpoint",
    "signal_to_end_of_training": "signal to checkpoint and end of training",
    "signal_to_requeue": "signal to requeue",
    "requeue_wait": "in the queue again",
    "restart_to_first_step": "second start to the end of its first step",
}
# Measured by the training itself; the other durations come from Slurm, in whole seconds.
_EXACT = ("step", "checkpoint", "signal_to_end_of_training")


def rehearse(
    config: Config,
    overrides: Overrides = None,
    site: Site = None,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", metavar="MINUTES", min=0.1, help="Longest wait for each stage, such as the queue, in minutes."
        ),
    ] = 1440,
    runs: RunsDir = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Test on this cluster that an interrupted run resumes by itself.

    Submits two short runs of the experiment. One is interrupted like before a time limit, requeued
    and resumed. Its steps, metrics and weights must equal those of the other. Ctrl-C cancels both.

    Example:
        hpc-dl rehearse configs/cnn-digits.yaml

    Exit status:
        0    passed
        1    failed; the last line says why
        2    invalid input, or Slurm refused the job
        130  Ctrl-C
    """
    from hpc_dl.cli.output import LOADING, emit, say
    from hpc_dl.compatibility.checks import check_names, check_versions

    check_versions()
    check_names("submitit")
    say(LOADING)
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.rehearse import rehearse_experiment
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.runs.folder import default_runs

    experiment = Experiment.load(config, overrides or [], say)
    profile = sites.load(site)
    profile.check(experiment)
    try:
        report = rehearse_experiment(
            experiment,
            profile,
            runs=runs or profile.runs() or default_runs(),
            data_dir=data or profile.data(),
            command=sys.argv,
            timeout_s=60 * timeout,
            say=say,
        )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    emit(report.to_dict()) if as_json else print("\n".join(_lines(report)))
    if not report.passed:
        raise typer.Exit(1)


def _lines(report: Report) -> list[str]:
    """Describe a report to a person, line by line."""
    from hpc_dl.cluster.rehearse import STEPS

    lines = [f"Rehearsal of {report.name}"]
    lines += [f"  {_DURATIONS[name]:<42} {_duration(name, seconds):>8}" for name, seconds in report.seconds.items()]
    if report.step is not None:
        lines.append(f"  interrupted after step {report.step} of {STEPS}")
    if report.largest_difference is not None:
        lines.append(f"  {_comparison(report)}")
    lines.append(f"  `hpc-dl submit` will request the signal {report.lead_s} s before the time limit")
    lines += [f"  warning: {warning}" for warning in report.warnings]
    runs = (("interrupted", report.interrupted), ("uninterrupted", report.uninterrupted))
    lines += [f"  {name}: {run.path}" for name, run in runs if run]
    return [*lines, "passed" if report.passed else f"failed: {'; '.join(report.problems)}"]


def _comparison(report: Report) -> str:
    """Describe how the results of the two runs differ."""
    if report.largest_difference == 0:
        return "metrics and weights: bit for bit those of the uninterrupted run"
    text = f"metrics and weights: differ by up to {report.largest_difference:.3g} from the uninterrupted run"
    if report.device == "cpu":
        return text
    return f"{text}; trainer.deterministic=true makes GPU results repeatable"


def _duration(name: str, seconds: float) -> str:
    """Write a duration with the digits that its measurement justifies."""
    if name in _EXACT:
        return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 1:
        return "< 1 s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
