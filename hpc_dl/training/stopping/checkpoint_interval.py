"""When the next checkpoint to resume from is due."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.phase_times import read_phase_times, recorded_ends

#: With ``checkpoint.every: auto`` checkpoints are at least this many seconds apart …
FIRST_AUTO_S = 60.0
#: … and take at most this share of the time.
LARGEST_SHARE = 0.02
#: The shortest interval between two checkpoints of a run that is killed again and again.
SHORTEST_AUTO_S = 1.0


@dataclass(frozen=True)
class CheckpointInterval:
    """When a checkpoint is due.

    Attributes:
        config: the ``checkpoint`` section.
        between_kills_s: as returned by :func:`mean_time_between_kills`.
    """

    config: CheckpointConfig
    between_kills_s: float | None = None

    def is_due(self, *, steps: int, seconds: float, checkpoint_s: float, num_ranks: int) -> bool:
        """Whether a checkpoint is due before the next batch.

        Args:
            steps: optimizer steps since the last checkpoint.
            seconds: seconds since the last checkpoint.
            checkpoint_s: seconds that the slowest checkpoint took.
            num_ranks: number of ranks.
        """
        if self.config.every_steps is not None:
            lag = num_ranks > 1  # the other ranks learn of it one batch later
            return steps >= self.config.every_steps - lag
        return seconds >= (self.config.every_seconds or auto_interval_s(checkpoint_s, self.between_kills_s))


def auto_interval_s(checkpoint_s: float, between_kills_s: float | None) -> float:
    """Return the seconds between two checkpoints with ``checkpoint.every: auto``.

    A run that was killed without a warning saves as often as loses the least time, between writing
    checkpoints and training lost steps again (Young, A first order approximation to the optimum
    checkpoint interval, 1974); never less often than others.

    Args:
        checkpoint_s: seconds that a checkpoint takes.
        between_kills_s: as returned by :func:`mean_time_between_kills`.
    """
    interval_s = max(FIRST_AUTO_S, checkpoint_s / LARGEST_SHARE)
    if between_kills_s is None:
        return interval_s
    return min(interval_s, max(SHORTEST_AUTO_S, math.sqrt(2 * checkpoint_s * between_kills_s)))


def mean_time_between_kills(run: RunFolder, start: int) -> float | None:
    """Return how long a run was active per kill without a checkpoint; ``None`` before the first.

    Args:
        run: the run.
        start: number of the present start, which does not count.
    """
    starts = [times for times in read_phase_times(run.usage) if times.start < start]
    kills = recorded_ends(run, starts).count(None)
    return sum(times.time - times.started for times in starts) / kills if kills else None
