"""The verdict on ranks without progress, and the heartbeats that it is based on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from hpc_dl.training.stopping.heartbeat import Heartbeat
from hpc_dl.training.stopping.stall_verdict import find_stalled_rank

#: Of a rank that hangs in a step.
HEARTBEAT = Heartbeat(
    rank=0,
    attempt="this",
    host="n0",
    pid=1,
    beat=1,
    passed=(7, 0),
    place="in train batch 4 of epoch 1",
    activity="at net.py:3 in Net.forward",
    waits=False,
    stalled_s=600.0,
)


def verdict(*changes: dict[str, Any] | None, before: dict[int, Heartbeat | None] | None = None) -> str:
    """Return the verdict on ranks whose heartbeats differ so from :data:`HEARTBEAT`."""
    now = {
        rank: None if change is None else replace(HEARTBEAT, rank=rank, host=f"n{rank}", beat=2, **change)
        for rank, change in enumerate(changes)
    }
    earlier = {rank: replace(beat, beat=1) if beat else None for rank, beat in now.items()} | (before or {})
    result = find_stalled_rank(earlier, now, 600.0)
    return f"{result[0]}: {result[1]}" if result else ""


def test_ranks_with_heartbeats() -> None:
    step, ahead = "(in train batch 4 of epoch 1, at net.py:3 in Net.forward)", {"passed": (7, 1)}
    assert verdict({}) == f"0: rank 0 on n0 made no progress for 10:00 min {step}"
    assert verdict(ahead, {}) == f"1: rank 1 on n1 made no progress for 10:00 min {step}; the others wait for it"
    assert verdict({}, {}) == f"0: no rank made progress for 10:00 min {step}"
    # A rank that waits for others is not to blame, unless all do
    assert verdict({"waits": True}, {}, ahead).startswith("1: rank 1 on n1 made no progress")
    assert verdict({"waits": True}, {"waits": True}).startswith("0: no rank made progress")
    several = verdict(ahead, {}, {}, {}, {}, {}, {})
    assert several.startswith("1: rank 1 on n1, rank 2 on n2, rank 3 on n3, rank 4 on n4 and 2 more made no progress")
    assert several.endswith("; the others wait for them")
    # A rank that is behind but has not been stalled for long gets its time
    assert verdict(ahead, {"stalled_s": 30.0}) == ""
    # A rank that has just ended may not be missed yet
    assert verdict(ahead, None, before={1: HEARTBEAT}) == ""
    # Compared as numbers, not as text: batch 10 comes after batch 9
    assert verdict({"passed": (10, 0)}, {"passed": (9, 5)}).startswith("1: ")


def test_silent_ranks() -> None:
    silent = replace(HEARTBEAT, rank=1, host="n1", beat=2, passed=(9, 0))
    assert verdict({}, {"passed": (9, 0)}, before={1: silent}) == (
        "1: rank 1 on n1 wrote no heartbeat: stopped, ended, or cut off from the run folder; the others wait for it"
    )
    assert (
        verdict({}, None, None)
        == "1: rank 1, rank 2 did not start to train, or ended already; the others wait for them"
    )
    # A rank that makes progress does not wait
    assert verdict({}, None, {"stalled_s": 1.0}) == "1: rank 1 did not start to train, or ended already"


def test_damaged_or_old_heartbeat_is_none(tmp_path: Path) -> None:
    assert Heartbeat.read(tmp_path, 0, "this") is None
    HEARTBEAT.write(tmp_path)
    assert Heartbeat.read(tmp_path, 0, "this") == HEARTBEAT
    assert Heartbeat.read(tmp_path, 0, "another") is None
    for damage in ('{"rank": 0}', "[]", "", '{"rank"'):
        (tmp_path / "rank-0.json").write_text(damage)
        assert Heartbeat.read(tmp_path, 0, "this") is None
    assert [path.name for path in tmp_path.iterdir()] == ["rank-0.json"]
