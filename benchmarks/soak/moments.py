"""Waiting for the moment at which a fault is planned."""

from __future__ import annotations

import time

from benchmarks.soak.attempts import TIMEOUT_S, Attempt
from benchmarks.soak.faults import PlannedFault
from benchmarks.soak.runs import STEPS, checkpoint_in_progress, validation_steps
from hpc_dl.runs import checkpoints

# About the seconds until the first step, of a fork and of a new program.
FORK_START_S, PROGRAM_START_S = 0.7, 6.0


def wait_for_moment(
    attempt: Attempt, fault: PlannedFault, num_remaining: int, configuration: str, run_seconds: float
) -> bool:
    """Wait until a fault is due; return False if the attempt ended before.

    Args:
        attempt: the running attempt.
        fault: the planned fault.
        num_remaining: faults that the run will still meet, including this one; they share the
            remaining steps.
        configuration: of the run.
        run_seconds: duration of the undisturbed run.
    """
    step = _step_of_moment(attempt, fault, num_remaining, configuration)
    start_s = PROGRAM_START_S if attempt.cold else FORK_START_S
    due_s = fault.where * (start_s if fault.moment == "start" else run_seconds / num_remaining)
    saves: set[str] = set()
    while attempt.is_running():
        elapsed = time.monotonic() - attempt.started
        if fault.moment in ("start", "time"):
            due = elapsed >= due_s
        elif fault.moment == "save":
            name = checkpoint_in_progress(attempt.run)
            saves |= {name} if name else set()
            due = bool(name) and len(saves) > int(2 * fault.where)
        else:
            due = attempt.last_step() >= step
        if due:
            time.sleep(fault.delay_s)
            return attempt.is_running()
        if elapsed > TIMEOUT_S:
            attempt.wait(0)  # raises TimeoutError
        time.sleep(0.0003 if fault.moment == "save" else 0.001)
    return False


def _step_of_moment(attempt: Attempt, fault: PlannedFault, num_remaining: int, configuration: str) -> int:
    """The step after which the fault is due, if its moment is a step, a validation or the test."""
    if fault.moment == "test":
        return STEPS
    saved = [checkpoint.step for checkpoint in checkpoints.listed(attempt.run.checkpoints, "step")]
    resumed_from = max(saved, default=0)
    share = (STEPS - resumed_from) / num_remaining
    step = min(STEPS, resumed_from + 1 + int(fault.where * share))
    if fault.moment == "validation":
        return next((validation for validation in validation_steps(configuration) if validation >= step), STEPS)
    return step
