"""``hpc-dl rehearse``: prove on the user's own cluster that an interrupted run goes on by itself."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hpc_dl.cli.submit import Site
from hpc_dl.cli.train import AsJson, Config, DataDir, Overrides, Runs

if TYPE_CHECKING:
    from hpc_dl.cluster.rehearse import Report

_WORDS = {
    "queue_wait": "in the queue",
    "start_to_first_step": "start to the end of the first step",
    "step": "a step",
    "checkpoint": "a checkpoint, at most",
    "signal_to_end_of_training": "signal to checkpoint and end",
    "signal_to_requeue": "signal to requeue",
    "requeue_wait": "in the queue again",
    "restart_to_first_step": "second start to the end of its first step",
}
_EXACT = ("step", "checkpoint", "signal_to_end_of_training")  # the others rest on whole seconds of Slurm's


def rehearse(
    config: Config,
    overrides: Overrides = None,
    site: Site = None,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="MINUTES", min=0.1, help="Longest to wait for one stage, as in the queue."),
    ] = 1440,
    runs: Runs = None,
    data: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Prove before the real run that it survives: a short job, a real signal, a requeue, a verified
    resume.

    Two short runs of the experiment: one is interrupted as before a time limit, and must end like
    the other one. Ctrl-C cancels both.

    Exit status: 0 passed, 1 failed and why, 2 something to mend, or refused by Slurm, 130 ended by
    Ctrl-C.
    """
    from hpc_dl.cli.output import emit, say
    from hpc_dl.compatibility.checks import check_names, check_versions

    check_versions()
    check_names("submitit")
    say("Loading torch and Lightning …")
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
    from hpc_dl.cluster.rehearse import STEPS

    lines = [f"Rehearsal of {report.name}"]
    lines += [f"  {_WORDS[name]:<42} {_told(name, seconds):>8}" for name, seconds in report.seconds.items()]
    if report.step is not None:
        lines.append(f"  interrupted after step {report.step} of {STEPS}")
    if report.largest_difference is not None:
        lines.append(f"  {_outcome(report)}")
    lines.append(f"  from now on `hpc-dl submit` asks for the signal {report.lead_s} s before the time limit")
    lines += [f"  warning: {warning}" for warning in report.warnings]
    named = (("interrupted", report.interrupted), ("left alone", report.uninterrupted))
    lines += [f"  {what}: {run.path}" for what, run in named if run]
    return [*lines, "passed" if report.passed else f"failed: {'; '.join(report.problems)}"]


def _outcome(report: Report) -> str:
    if report.largest_difference == 0:
        return "metrics and weights: bit for bit those of the run that was left alone"
    told = f"metrics and weights: up to {report.largest_difference:.3g} from those of the run that was left alone"
    if report.device == "cpu":
        return told
    return f"{told}; with trainer.deterministic=true a GPU computes the same each time"


def _told(name: str, seconds: float) -> str:
    if name in _EXACT:
        return f"{seconds:.3f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 1:
        return "< 1 s"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min"
