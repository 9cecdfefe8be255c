"""The rehearsal of an experiment: two short runs, one of them interrupted by a real signal, and a
comparison.

Whether a requeue works is up to the site: its queues, its settings, its file system, the time that
a checkpoint takes on it. So it is tried there, before the real run relies on it, and the times are
measured that ``submit`` goes by.
"""

from __future__ import annotations

import math
import re
import signal
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.cluster import signal_lead, slurm, status
from hpc_dl.cluster.requeue import refusal
from hpc_dl.cluster.submit import submit_run, uses_slurm
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError, HpcDlError
from hpc_dl.runs import attempts, comparison
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import ENDED, read_state
from hpc_dl.training.stopping.rehearsal import PATIENCE_S, file

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile

#: Optimizer steps of a rehearsal, those before the signal, and those of an epoch: the signal comes
#: in the middle of the second epoch, after one validation and before another.
STEPS, STEPS_BEFORE, STEPS_IN_EPOCH = 20, 10, 8
_MINUTES = 30  # a short job waits less; and whatever hangs does not hang for long
_BATCHES = 2  # of each validation, and of the test
_SIGNAL = "USR2"  # as `sbatch --signal` has it
_LOOK_S, _ASK_S = 0.3, 5.0  # at the run's files, at Slurm


class Failed(Exception):
    """A stage of the rehearsal did not come about; the sentence says which, and what to do."""


@dataclass
class Report:
    """What a rehearsal has found.

    Attributes:
        name: of the experiment.
        interrupted: the run that got the signal.
        uninterrupted: the run that it is compared with.
        seconds: measured times by what took them; only what was reached.
        step: optimizer steps done when it was interrupted.
        device: what it was trained on: ``cpu`` or ``cuda``.
        largest_difference: between metrics and weights of both; 0: bit for bit the same, ``None``:
            not compared.
        lead_s: how long before a time limit ``submit`` asks for the signal from now on.
        warnings: what will do harm although the rehearsal may have passed.
        problems: why it failed; empty when it passed.
    """

    name: str
    interrupted: RunFolder | None = None
    uninterrupted: RunFolder | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    step: int | None = None
    device: str = ""
    largest_difference: float | None = None
    lead_s: int | None = None
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether the interrupted run did what the other one did."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As one JSON document."""
        difference = self.largest_difference
        return {
            "experiment": self.name,
            "passed": self.passed,
            "problems": self.problems,
            "warnings": self.warnings,
            "step": self.step,
            "steps": STEPS,
            "device": self.device,
            "identical": None if difference is None else difference == 0,
            "largest_difference": difference if difference is None or math.isfinite(difference) else str(difference),
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "lead_s": self.lead_s,
            "interrupted": None if self.interrupted is None else str(self.interrupted.path),
            "uninterrupted": None if self.uninterrupted is None else str(self.uninterrupted.path),
        }


def shortened(experiment: Experiment) -> Experiment:
    """The experiment as it is rehearsed: the same in all but its length and its reports.

    Raises:
        ConfigError: it does not want to be requeued at all.
    """
    if experiment.resources.max_requeues == 0:
        raise ConfigError.at(
            "resources.max_requeues",
            "leaves nothing to rehearse: the job would not be put back into the queue",
            value=0,
            allowed="1 or more",
        )
    raw = experiment.to_dict()
    trainer, resources = raw["trainer"], raw["resources"]
    raw["name"] = signal_lead.rehearsal_name(experiment.name)
    trainer |= {
        "max_epochs": None,
        "max_steps": STEPS,
        "limit_train_batches": STEPS_IN_EPOCH * trainer["accumulate_grad_batches"],
        "limit_val_batches": _BATCHES,
        "limit_test_batches": _BATCHES,
        "val_check_interval": 1.0,
        "check_val_every_n_epoch": 1,
        "log_every_n_steps": 1,
    }
    if trainer["stall_timeout"] is not None:  # waiting for the signal is no stall
        trainer["stall_timeout"] = max(trainer["stall_timeout"], 2 * PATIENCE_S / 60)
    resources["time"] = min(experiment.resources.minutes, _MINUTES)
    raw["checkpoint"]["every"] = "auto"
    raw["wandb"]["mode"] = "disabled"
    return Experiment.from_dict(raw)


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
        experiment: as the user wrote it.
        site: what the cluster needs.
        runs: folder of all runs; those of the rehearsal stay there.
        data_dir: where shipped data sources are kept; ``None`` for the default.
        command: the command line, for the provenance.
        timeout_s: the longest to wait for one stage, such as the start of a job.
        say: tells the user one line.

    Raises:
        HpcDlError: there is something to mend before it can begin.
        KeyboardInterrupt: as it came; both runs are cancelled then.
    """
    from hpc_dl.cluster.prepare import prepare

    short = shortened(experiment)
    with_slurm = uses_slurm(site)
    report = Report(experiment.name)
    stage = _Stages(say, timeout_s)
    begun: list[RunFolder] = []

    def begin(what: str, hold_at_step: int | None = None) -> RunFolder:
        run = prepare(short, runs=runs, data_dir=data_dir, command=command, say=say)
        if hold_at_step is not None:
            write_json(file(run), {"hold_at_step": hold_at_step})
        begun.append(run)
        facts = submit_run(run, short, site, data_dir)
        job = f"Slurm job {facts['job_id']}" if "job_id" in facts else f"process {facts['pid']}"
        say(f"Submitted {run.name} ({job}), {what}")
        return run

    moments: dict[str, float | None] = {}
    try:
        report.interrupted = interrupted = begin("to be interrupted", STEPS_BEFORE)
        if with_slurm:  # on a single machine the two would have to share its devices
            report.uninterrupted = begin("to be left alone")
        _interrupt(interrupted, report, moments, stage)
        report.uninterrupted = uninterrupted = report.uninterrupted or begin("to be left alone")
        stage.until(uninterrupted, f"the {STEPS} steps of the run that was left alone", _finished)
        _compare(interrupted, uninterrupted, report, short)
    except Failed as failure:
        report.problems.append(str(failure))
    except BaseException:
        say("Cancelling the jobs of the rehearsal")
        raise
    finally:
        for run in begun:
            # Never launched, or Slurm does not answer: then its short time limit ends it.
            with suppress(HpcDlError):
                status.cancel(run)
    report.seconds = _durations(interrupted, report.uninterrupted, moments)
    report.lead_s = signal_lead.lead_s(runs, experiment.name)
    shortage = signal_lead.shortage(experiment.resources.minutes, report.lead_s)
    report.warnings += [shortage] if shortage else []
    timings = signal_lead.timings_of(interrupted)
    report.warnings += signal_lead.grace_warnings(timings, site.partition) if timings and with_slurm else []
    return report


class _Stages:
    """Waiting for one thing after the other, aloud and within bounds."""

    def __init__(self, say: Callable[[str], None], timeout_s: float) -> None:
        self.say = say
        self._timeout_s = timeout_s

    def until(
        self,
        run: RunFolder,
        what: str,
        condition: Callable[[RunFolder], Any],
        hint: Callable[[RunFolder], str] = lambda run: "",
    ) -> Any:
        """What the condition gives when it gives something.

        Args:
            run: the run.
            what: what is waited for, for people.
            condition: looks at the run's own files only; asked often.
            hint: what to do when the run has ended instead.

        Raises:
            Failed: the run has ended, or the time is over.
        """
        self.say(f"Waiting for {what} …")
        began = time.monotonic()
        ask_at, told, ended = began + _ASK_S, ("", ""), False
        while not (result := condition(run)):
            now = time.monotonic()
            if now >= ask_at:
                seen = status.status(run)
                news = (seen["state"], seen.get("reason", ""))
                if seen["state"] in ENDED and news[1] != status.SILENCE:
                    if ended:  # twice: on a shared file system its last word may be seconds behind Slurm's
                        raise Failed(" ".join(f"{what}: the run {news[0]}: {news[1]}. {hint(run)}".split()))
                    ended = True
                    ask_at = now + _ASK_S
                    continue
                ended = False
                if news != told:
                    told = news
                    self.say(f"  [{news[0]}] {news[1]}".rstrip())
                ask_at = now + _ASK_S
            if now - began > self._timeout_s:
                raise Failed(
                    f"{what}: not within {self._timeout_s / 60:g} min ({told[0]} {told[1]}). Wait longer with --timeout"
                )
            time.sleep(_LOOK_S)
        return result


def _interrupt(run: RunFolder, report: Report, moments: dict[str, float | None], stage: _Stages) -> None:
    """The life of the run that gets the signal; notes when (``time.time()``) what happened to it."""
    held = stage.until(run, f"the first {STEPS_BEFORE} steps of the run to be interrupted", _held)["attempt"]
    moments |= {"queued": _queued(run), "started": _began(run)}
    stage.say(f"Sending a real SIG{_SIGNAL}")
    moments["signal"] = time.time()
    _send(run)
    end = stage.until(run, "its checkpoint", lambda run: _line(run, "ended", held))
    if end["state"] != "stopped":
        raise Failed(
            f"the signal did not reach the training: the run {end['state']} without having stopped for it. Ask the "
            f"administrators whether `scancel --signal={_SIGNAL} JOB` and `sbatch --signal={_SIGNAL}@60` work here"
        )
    report.step = end["step"]
    again = stage.until(
        run, "the requeue and the second start", lambda run: _line(run, "started", held + 1), hint=_about_requeues
    )
    moments |= {"requeued": _queued(run), "restarted": _began(run)}
    stage.until(run, f"the remaining steps up to {STEPS}", _finished)
    if again["from_step"] != end["step"]:
        report.problems.append(f"it stopped at step {end['step']}, but went on from step {again['from_step']}")


def _send(run: RunFolder) -> None:
    """The signal, the way it comes before a time limit.

    Raises:
        Failed: it cannot be sent.
    """
    job = read_json(run.job)
    try:
        if "job_id" in job:
            slurm.send_signal(job["job_id"], _SIGNAL)
            return
        for submitits in psutil.Process(job["pid"]).children():
            for task in submitits.children():
                task.send_signal(signal.Signals[f"SIG{_SIGNAL}"])
    except (HpcDlError, psutil.NoSuchProcess) as error:
        raise Failed(f"the signal could not be sent: {error}") from None


def _about_requeues(run: RunFolder) -> str:
    by_hand = f"Until then a run goes on when you say `hpc-dl resume {run.name}`"
    if refusal(run).exists():
        return (
            "Show the administrators what Slurm said to `scontrol requeue`, and ask that users may requeue their own "
            f"jobs. {by_hand}"
        )
    return f"The batch script could not requeue the job; what it said is in {run.submitit}. {by_hand}"


def _durations(mine: RunFolder, other: RunFolder | None, moments: dict[str, float | None]) -> dict[str, float]:
    """What took how long, in seconds, as far as it came about."""
    queued, started, sent, requeued, restarted = map(
        moments.get, ("queued", "started", "signal", "requeued", "restarted")
    )
    steps = [row["time"] for row in comparison.step_rows(mine)]
    alone = [row["time"] for row in comparison.step_rows(other)] if other else []
    timings = signal_lead.timings_of(mine)
    pairs = {
        "queue_wait": (queued, started),
        "start_to_first_step": (started, min(steps, default=None)),
        "step": (0.0, statistics.median(b - a for a, b in pairwise(alone)) if len(alone) > 1 else None),
        "checkpoint": (0.0, timings.get("checkpoint_s")),
        "signal_to_end_of_training": (0.0, timings.get("stop_s")),
        "signal_to_requeue": (sent, requeued),
        "requeue_wait": (requeued, restarted),
        "restart_to_first_step": (
            restarted,
            min((at for at in steps if restarted is not None and at > restarted), default=None),
        ),
    }
    # Slurm's moments are whole seconds: one may seem to lie before what it follows.
    return {
        name: max(0.0, end - begin) for name, (begin, end) in pairs.items() if begin is not None and end is not None
    }


def _compare(mine: RunFolder, other: RunFolder, report: Report, experiment: Experiment) -> None:
    """Whether the interrupted run did the steps of the other one, each once, and with the same
    outcome.
    """
    report.problems += [
        f"steps {what} by the interruption: {', '.join(map(str, steps))}"
        for what, steps in comparison.step_differences(mine, other).items()
    ]
    report.device = str(read_json(mine.result)["device"])
    differences = comparison.differences(mine, other)
    report.largest_difference = max((difference.distance for difference in differences), default=0.0)
    exact = report.device == "cpu" or experiment.trainer.deterministic is True
    if differences and (exact or math.isinf(report.largest_difference)):
        worst = max(differences, key=lambda difference: difference.distance)
        report.problems.append(
            f"{len(differences)} values differ from those of the uninterrupted run, the most: {worst}"
        )


# What the run's own files tell


def _held(run: RunFolder) -> dict[str, Any] | None:
    """The history's line of the attempt that waits for the signal."""
    if "holding" not in (read_json(file(run)) or {}):
        return None
    return next((line for line in reversed(attempts.history(run)) if line["event"] == "started"), None)


def _finished(run: RunFolder) -> bool:
    return bool(read_state(run)["state"] == "finished")


def _line(run: RunFolder, event: str, attempt: int) -> dict[str, Any] | None:
    """The history's line of an attempt, or of a later one if a node took it down."""
    fitting = (line for line in attempts.history(run) if line["event"] == event and line["attempt"] >= attempt)
    return next(fitting, None)


def _queued(run: RunFolder) -> float | None:
    """When the run was put into the queue the last time."""
    if job_id := read_json(run.job).get("job_id"):
        return _moment(slurm.job_facts(job_id).get("SubmitTime"))
    ends = [line["time"] for line in attempts.history(run) if line["event"] == "ended"]
    return _moment(ends[-1] if ends else read_json(run.job)["submitted"])


def _began(run: RunFolder) -> float | None:
    """When the run's job began the last time."""
    if job_id := read_json(run.job).get("job_id"):
        return _moment(slurm.job_facts(job_id).get("StartTime"))
    return _moment(re.findall(r"^=== (\S+) rank", run.log(0).read_text(encoding="utf-8"), re.MULTILINE)[-1])


def _moment(text: str | None) -> float | None:
    """Seconds since the epoch; Slurm tells the time of here without saying so."""
    with suppress(TypeError, ValueError):
        return datetime.fromisoformat(text).timestamp()  # type: ignore[arg-type]
    return None
