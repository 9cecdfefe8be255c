"""The share of the allocated time that advances a training that is killed again and again."""

from __future__ import annotations

from typing import Any

KILLS_PER_HOUR = 10


def goodput(measured: dict[str, Any], *, interval_s: float, is_warned: bool) -> float:
    """Return the goodput of a training, without the queue, from the measured parts.

    Each kill costs one start. One with a signal ahead costs a stop; one without costs half of the
    interval between two checkpoints, which has to be trained again.

    Args:
        measured: a result of :func:`benchmarks.preemption.restarts.stops_and_starts`.
        interval_s: seconds of training between two checkpoints.
        is_warned: whether a signal comes before the kill.
    """
    cycle_s = 3600 / KILLS_PER_HOUR
    lost_s = measured["stop_s"] if is_warned else interval_s / 2
    available_s: float = cycle_s - measured["start_s"]["together"] - lost_s
    share_of_steps: float = 1 / (1 + measured["checkpoint_s"] / interval_s)
    return share_of_steps * available_s / cycle_s
