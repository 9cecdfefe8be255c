"""``hpc-dl rehearse``: test on the user's own cluster that an interrupted run resumes by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.arguments import AsJson, Config, DataDir, Overrides, RunsDir, Site
from hpc_dl.formatting import duration

if TYPE_CHECKING:
    from hpc_dl.cluster.rehearsal.report import Report

_LABELS = {
    "queue_wait": "in the queue",
    "start_to_first_step": "from start to the end of the first step",
    "step": "one step (median)",
    "checkpoint": "slowest checkpoint",
    "signal_to_end_of_training": "from signal to checkpoint and end",
    "signal_to_requeue": "from signal to requeue",
    "requeue_wait": "in the queue after the requeue",
    "restart_to_first_step": "from second start to the end of its first step",
}
_EXACT = ("step", "checkpoint", "signal_to_end_of_training")  # the others are based on Slurm's whole seconds


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

    Submits two short runs of the experiment. One is interrupted as before a time limit, requeued
    and resumed. Its steps, metrics and weights must equal those of the other. Ctrl-C cancels both.

    Example:
        hpc-dl rehearse configs/cnn-digits.yaml

    Exit status:
        0    passed
        1    failed; the last line says why
        2    invalid input, or Slurm refused the job
        130  Ctrl-C
    """
    from hpc_dl.cli.experiment_argument import load_experiment
    from hpc_dl.cli.output import emit, say, show
    from hpc_dl.cluster import site as sites
    from hpc_dl.cluster.folders import data_folder, runs_folder
    from hpc_dl.compatibility.checks import check_names, check_versions

    check_versions()
    profile = sites.load(site)
    runs_dir, data_dir = runs_folder(runs, profile), data_folder(data, profile)
    experiment = load_experiment(config, overrides)
    profile.check(experiment)
    check_names("submitit")
    from hpc_dl.cluster.rehearsal.rehearse import rehearse_experiment
    from hpc_dl.cluster.termination import termination_as_interrupt

    try:
        with termination_as_interrupt():
            report = rehearse_experiment(
                experiment,
                profile,
                runs=runs_dir,
                data_dir=data_dir,
                command=sys.argv,
                timeout_s=60 * timeout,
                say=say,
            )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    emit(report.to_dict()) if as_json else show("\n".join(_lines(report)))
    if not report.passed:
        raise typer.Exit(1)


def _lines(report: Report) -> list[str]:
    from hpc_dl.cluster.rehearsal.short_experiment import STEPS

    lines = [f"Rehearsal of {report.name}"]
    lines += [
        f"  {_LABELS[name]:<46} {duration(seconds, whole_seconds=name not in _EXACT):>9}"
        for name, seconds in report.seconds.items()
    ]
    if report.step is not None:
        lines.append(f"  interrupted after step {report.step} of {STEPS}")
    if report.largest_difference is not None:
        lines.append(f"  {_outcome(report)}")
    lines.append(f"  `hpc-dl submit` now requests the warning signal {report.lead_s} s before the time limit")
    lines += [f"  warning: {warning}" for warning in report.warnings]
    runs = (("interrupted", report.interrupted), ("uninterrupted", report.uninterrupted))
    lines += [f"  {role}: {run.path}" for role, run in runs if run]
    return [*lines, "passed" if report.passed else f"failed: {'; '.join(report.problems)}"]


def _outcome(report: Report) -> str:
    """Describe how the results of the two runs differ."""
    if report.largest_difference == 0:
        return "metrics and weights: bitwise identical to those of the uninterrupted run"
    text = f"metrics and weights: differ by up to {report.largest_difference:.3g} from those of the uninterrupted run"
    if report.device == "cpu":
        return text
    return f"{text}; with trainer.deterministic=true a GPU computes the same every time"
