"""The results of a rehearsal: verdict, measured times, and the comparison of both runs."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hpc_dl.cluster import signal_lead
from hpc_dl.cluster.rehearsal.short_experiment import STEPS
from hpc_dl.config.experiment import Experiment
from hpc_dl.formatting import shortened
from hpc_dl.regular_files import read_json
from hpc_dl.runs import comparison
from hpc_dl.runs.folder import RunFolder


@dataclass
class Timeline:
    """The times (``time.time()``) of events in the life of the interrupted run, as far as known."""

    queued: float | None = None
    started: float | None = None
    signal_sent: float | None = None
    requeued: float | None = None
    restarted: float | None = None


@dataclass
class Report:
    """The results of a rehearsal.

    Attributes:
        name: of the experiment.
        interrupted: the run that received the signal.
        uninterrupted: the run that it is compared with.
        seconds: the measured times, by what was measured; only those that were reached.
        step: optimizer steps done at the interruption.
        device: the device of the training: ``cpu`` or ``cuda``.
        largest_difference: between metrics and weights of both runs; 0 if they are bitwise
            identical, ``None`` if they were not compared.
        lead_s: the signal lead that ``submit`` requests from now on, in seconds.
        warnings: problems of the site's settings, even if the rehearsal passed.
        problems: why the rehearsal failed; empty if it passed.
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
        """Whether the interrupted run did the same as the uninterrupted one."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
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


def compare(interrupted: RunFolder, uninterrupted: RunFolder, report: Report, experiment: Experiment) -> None:
    """Check that both runs did each step once, with the same outcome; add problems to the report.

    Args:
        interrupted: the run that was interrupted.
        uninterrupted: the run that was not.
        report: gets the device, the largest difference, and the problems.
        experiment: the experiment, as it was run.
    """
    report.problems += [
        f"steps {kind} by the interruption: {shortened(steps, most=20)}"
        for kind, steps in comparison.step_differences(interrupted, uninterrupted).items()
    ]
    report.device = str(read_json(interrupted.result)["device"])
    differences = comparison.differences(interrupted, uninterrupted)
    report.largest_difference = max((difference.distance for difference in differences), default=0.0)
    exact = report.device == "cpu" or experiment.trainer.deterministic is True
    if differences and (exact or math.isinf(report.largest_difference)):
        largest = max(differences, key=lambda difference: difference.distance)
        report.problems.append(
            f"{len(differences)} values differ from those of the uninterrupted run; the largest difference: {largest}"
        )


def durations(interrupted: RunFolder, uninterrupted: RunFolder | None, times: Timeline) -> dict[str, float]:
    """Return the durations in seconds, by what was measured; only those that were reached."""
    steps = [row["time"] for row in comparison.step_rows(interrupted)]
    plain_steps = [row["time"] for row in comparison.step_rows(uninterrupted)] if uninterrupted else []
    timings = signal_lead.timings_of(interrupted)
    spans = {
        "queue_wait": (times.queued, times.started),
        "start_to_first_step": (times.started, min(steps, default=None)),
        "step": (0.0, statistics.median(b - a for a, b in pairwise(plain_steps)) if len(plain_steps) > 1 else None),
        "checkpoint": (0.0, timings.get("checkpoint_s")),
        "signal_to_end_of_training": (0.0, timings.get("stop_s")),
        "signal_to_requeue": (times.signal_sent, times.requeued),
        "requeue_wait": (times.requeued, times.restarted),
        "restart_to_first_step": (
            times.restarted,
            min((step for step in steps if times.restarted is not None and step > times.restarted), default=None),
        ),
    }
    # Slurm's times are whole seconds, so that an end may seem to precede its start.
    return {
        name: max(0.0, end - start) for name, (start, end) in spans.items() if start is not None and end is not None
    }
