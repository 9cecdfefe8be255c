"""Which rank holds up a training, decided from the heartbeats of all ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hpc_dl.formatting import duration, shortened
from hpc_dl.training.stopping.heartbeat import Heartbeat

_MOST_NAMES = 4


def find_stalled_rank(
    before: Mapping[int, Heartbeat | None], now: Mapping[int, Heartbeat | None], timeout_s: float
) -> tuple[int, str] | None:
    """Find the rank that holds up the training, from the heartbeats of all ranks at two times.

    Clocks of different nodes are never compared.

    Args:
        before: the earlier heartbeat of each rank, ``None`` where it had none.
        now: the present heartbeat of each rank, ``None`` where it has none.
        timeout_s: seconds without progress after which a rank is stalled.

    Returns:
        The (first) rank to blame and a description of the problem; ``None`` when nothing is
        certain, or when the rank behind works.
    """
    stalled_s = 0.9 * timeout_s  # another rank's last heartbeat is a little old
    silent = [rank for rank, heartbeat in now.items() if heartbeat == before.get(rank)]
    vanished = [heartbeat for rank in silent if (heartbeat := now[rank])]
    if vanished:
        blamed = [heartbeat.rank for heartbeat in vanished]
        problem = f"{_names(vanished)} wrote no heartbeat: stopped, ended, or cut off from the run folder"
    elif silent:
        blamed = silent
        names = shortened([f"rank {rank}" for rank in silent], _MOST_NAMES)
        problem = f"{names} did not start to train, or ended already"
    else:
        heartbeats = [heartbeat for heartbeat in now.values() if heartbeat]
        least = min(heartbeat.passed for heartbeat in heartbeats)
        behind = [heartbeat for heartbeat in heartbeats if heartbeat.passed == least]
        behind = [heartbeat for heartbeat in behind if not heartbeat.waits] or behind
        if len(heartbeats) < len(now) or min(heartbeat.stalled_s for heartbeat in behind) < stalled_s:
            return None
        blamed = [heartbeat.rank for heartbeat in behind]
        subject = "no rank made" if 1 < len(behind) == len(now) else f"{_names(behind)} made no"
        problem = f"{subject} progress for {duration(timeout_s)} ({behind[0].place}, {behind[0].activity})"
    others = [heartbeat for rank, heartbeat in now.items() if rank not in blamed]
    if others and all(heartbeat and heartbeat.stalled_s >= stalled_s for heartbeat in others):
        problem += f"; the others wait for {'it' if len(blamed) == 1 else 'them'}"
    return blamed[0], problem


def _names(heartbeats: Sequence[Heartbeat]) -> str:
    return shortened([f"rank {heartbeat.rank} on {heartbeat.host}" for heartbeat in heartbeats], _MOST_NAMES)
