"""When the next checkpoint to resume from is due."""

from __future__ import annotations

from hpc_dl.config.checkpoint import CheckpointConfig

#: With ``checkpoint.every: auto`` checkpoints are at least this many seconds apart …
FIRST_AUTO_S = 60.0
#: … and take at most this share of the time.
LARGEST_SHARE = 0.02


def is_due(config: CheckpointConfig, *, steps: int, seconds: float, checkpoint_s: float, num_ranks: int) -> bool:
    """Whether a checkpoint is due before the next batch.

    Args:
        config: the ``checkpoint`` section.
        steps: optimizer steps since the last checkpoint.
        seconds: seconds since the last checkpoint.
        checkpoint_s: seconds that the slowest checkpoint took.
        num_ranks: number of ranks.
    """
    if config.every_steps is not None:
        lag = num_ranks > 1  # the other ranks learn of it one batch later
        return steps >= config.every_steps - lag
    return seconds >= (config.every_seconds or max(FIRST_AUTO_S, checkpoint_s / LARGEST_SHARE))
