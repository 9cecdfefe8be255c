"""The share of the allocated time that advanced a training, and where the rest went."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import Allocation, Goodput, goodput_of
from hpc_dl.runs.phase_times import PHASES, PhaseTimes, read_phase_times

T0 = 1_800_000_000.0


def at(seconds: float) -> str:
    return datetime.fromtimestamp(T0 + seconds, UTC).isoformat()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that was submitted at 0 s as job 7."""
    run = RunFolder.create(tmp_path, "x")
    write_json(run.job, {"host": "login", "job_id": "7", "submitted": at(0)})
    write_json(run.provenance, {"time": at(0)})
    return run


def attempt(
    run: RunFolder, number: int, started: float, *, state: str = "", from_step: int | None = 0, **facts: Any
) -> None:
    """Record an attempt of 100 s: 10 s of start-up, 70 s of training, 20 s of other phases."""
    seconds = {"start_up": 10.0, "training": 70.0, "data": 5.0, "validation": 9.0, "checkpoints": 6.0}
    values: dict[str, Any] = {
        "job": "7", "allocated": None, "phase": "training", "saved": ((50, 30.0, 1.0), (90, 60.0, 4.0)),
        "seconds": dict.fromkeys(PHASES, 0.0) | seconds,
    }  # fmt: skip
    times = PhaseTimes(
        start=number,
        attempt=facts.pop("attempt", number),
        started=T0 + started,
        time=T0 + started + 100,
        from_step=from_step,
        **(values | facts),
    )
    times.write(run.usage)
    events = [{"event": "started", "attempt": times.attempt, "from_step": from_step}]
    events += [{"event": "ended", "attempt": times.attempt, "state": state}] if state else []
    with run.attempts.open("a") as file:
        file.write("".join(json.dumps(event) + "\n" for event in events))


def measured(run: RunFolder, allocations: list[Allocation] | None = None, **options: Any) -> Goodput:
    found = goodput_of(run, {"7": allocations or []}, **options)
    assert found is not None
    assert sum(found.parts.values()) == pytest.approx(found.allocated_s)
    assert abs(found.parts["other"]) < 0.01 * found.allocated_s
    return found


def test_finished_attempt_with_the_times_of_slurm(run: RunFolder) -> None:
    attempt(run, 0, 60, state="finished")
    found = measured(run, [Allocation(T0 + 56, T0 + 163)])
    assert found.allocated_s == 107
    assert found.share == pytest.approx(70 / 107)
    assert (found.parts["start_up"], found.parts["end"], found.parts["repeated"]) == (14, 3, 0)
    assert found.waits_s == (56,)


def test_without_slurm_the_allocation_is_the_process(run: RunFolder) -> None:
    attempt(run, 0, 60, state="finished")
    assert measured(run).allocated_s == 100
    attempt(run, 0, 60, state="finished", allocated=T0 + 55)
    assert measured(run).parts["start_up"] == 15


def test_steps_after_the_checkpoint_of_a_killed_attempt_are_repeated(run: RunFolder) -> None:
    attempt(run, 0, 10)
    attempt(run, 1, 150, from_step=50, state="finished")
    found = measured(run, [Allocation(T0 + 10, T0 + 114), Allocation(T0 + 148, T0 + 250)])
    # It trained on for 4 s after its last record, and resumed at step 50, after 31 s of its steps.
    assert found.parts["repeated"] == 70 + 5 + 4 - 31
    assert found.parts["training"] == 30 + 70
    assert found.waits_s == (10, 34)
    assert (found.starts, found.parts["end"]) == (2, 0)


def test_attempt_that_is_killed_before_it_has_resumed(run: RunFolder) -> None:
    attempt(run, 0, 10)
    early = {"seconds": dict.fromkeys(PHASES, 0.0) | {"start_up": 100.0}, "phase": "start_up", "saved": ()}
    attempt(run, 1, 150, attempt=1, from_step=None, **early)
    attempt(run, 2, 300, attempt=1, from_step=90, state="finished")
    found = measured(run)
    assert (found.starts, found.parts["start_up"]) == (3, 120)
    assert found.parts["repeated"] == 75 - 64, "the first attempt loses what follows step 90, not everything"


def test_node_that_was_silent_for_long_before_slurm_ended_the_job(run: RunFolder) -> None:
    attempt(run, 0, 10)
    attempt(run, 1, 500, from_step=90, state="finished")
    found = measured(run, [Allocation(T0 + 10, T0 + 410), Allocation(T0 + 500, T0 + 600)])
    assert (found.parts["repeated"], found.parts["end"]) == (75 + 30 - 64, 270)


def test_last_attempt_keeps_what_is_in_its_newest_checkpoint(run: RunFolder) -> None:
    attempt(run, 0, 10)
    (run.checkpoints / "step-00000090.ckpt").touch()
    assert measured(run).parts["repeated"] == 75 - 64
    assert measured(run, is_running=True).parts["repeated"] == 0
    attempt(run, 1, 200, state="stopped", from_step=90)
    assert measured(run).parts["repeated"] == 2 * (75 - 64)


def test_job_that_ended_before_its_training_began(run: RunFolder) -> None:
    attempt(run, 0, 100, state="finished")
    found = measured(run, [Allocation(T0 + 10, T0 + 40), Allocation(T0 + 100, T0 + 200)])
    assert (found.allocated_s, found.parts["start_up"], found.starts) == (130, 40, 2)


def test_time_until_a_user_resumed_the_run_is_no_queue(run: RunFolder) -> None:
    attempt(run, 0, 10, state="stopped")
    with run.attempts.open("a") as file:
        file.write(json.dumps({"event": "resumed", "time": at(1000)}) + "\n")
    attempt(run, 1, 1030, from_step=90, state="finished")
    assert measured(run).waits_s == (10, 30)


def test_allocation_of_several_runs_is_not_that_of_one(run: RunFolder) -> None:
    write_json(run.job, {"host": "login", "job_id": "7", "submitted": at(0), "members": ["a", "b"]})
    attempt(run, 0, 60, state="finished")
    found = measured(run, [Allocation(T0 + 6, T0 + 999)])
    assert (found.allocated_s, found.waits_s) == (100, ())


@pytest.mark.parametrize("damage", ["", "[]", '{"attempt": 0}', '{"attempt": "x", "job": 1}', "\0"])
def test_damaged_and_missing_records(run: RunFolder, damage: str) -> None:
    assert goodput_of(run) is None
    run.usage.mkdir()
    (run.usage / "start-000.json").write_text(damage)
    assert read_phase_times(run.usage) == []
    assert goodput_of(run) is None
