"""When a training will have ended, with the requeues that it still needs. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from hpc_dl.runs.goodput import Goodput


@dataclass(frozen=True)
class Completion:
    """The expected end of a training.

    Attributes:
        seconds: until then.
        requeues: how often the job will still be requeued.
        wait_s: how long each start has waited in the queue so far, on average.
    """

    seconds: float
    requeues: int
    wait_s: float


def expected_completion(left_s: float, goodput: Goodput, limit_s: float) -> Completion | None:
    """Return when a running training is expected to end.

    Allocations are expected to last as long as those before, on average, or else until the time
    limit; each requeue costs a wait in the queue and a start.

    Args:
        left_s: seconds of training that are left.
        goodput: where the time went so far; the last allocation is the present one.
        limit_s: the time limit of the job.

    Returns:
        ``None`` if the job would never get far enough: a start takes as long as an allocation.
    """
    *before, elapsed_s = goodput.lengths_s
    length_s = min(fmean(before), limit_s) if before else limit_s
    start_s = (goodput.parts["start_up"] + goodput.parts["restoring"]) / goodput.starts
    wait_s = fmean(goodput.waits_s) if goodput.waits_s else 0.0
    missing_s = left_s - max(0.0, length_s - elapsed_s)
    if missing_s <= 0:
        return Completion(left_s, 0, wait_s)
    if length_s <= start_s:
        return None
    requeues = math.ceil(missing_s / (length_s - start_s))
    return Completion(left_s + requeues * (wait_s + start_s), requeues, wait_s)
