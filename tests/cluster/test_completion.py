"""When a training will have ended that has to be requeued until then."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.completion import Completion, expected_completion
from hpc_dl.cluster.progress import progress_of
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.goodput import PARTS, Goodput
from hpc_dl.runs.phase_times import PHASES, PhaseTimes

HOUR = 3600.0


def goodput(*lengths_s: float, waits_s: tuple[float, ...] = (), start_s: float = 60.0) -> Goodput:
    """A run with these allocations, the last of which is the present one."""
    parts = dict.fromkeys(PARTS, 0.0) | {"start_up": 0.9 * start_s * len(lengths_s)}
    parts["restoring"] = 0.1 * start_s * len(lengths_s)
    return Goodput(sum(lengths_s), parts, waits_s, len(lengths_s), lengths_s)


@pytest.mark.parametrize(
    ("left_s", "known", "expected"),
    [
        (1800, goodput(600, waits_s=(300,)), Completion(1800, 0, 300)),
        # 50 min are left of this job; 70 min more are two jobs of 59 min of training each.
        (2 * HOUR, goodput(600, waits_s=(300,)), Completion(2 * HOUR + 2 * 360, 2, 300)),
        # Two allocations were preempted after 30 min: the third is expected to last as long.
        (HOUR, goodput(1800, 1800, 600, waits_s=(100, 500, 600)), Completion(HOUR + 2 * 460, 2, 400)),
        (HOUR, goodput(5400, 600), Completion(HOUR + 60, 1, 0)),
        (HOUR, goodput(50, 50, 10), None),
    ],
    ids=["in this job", "by the time limit", "by preemption", "no longer than the limit", "never"],
)
def test_expected_completion(left_s: float, known: Goodput, expected: Completion | None) -> None:
    assert expected_completion(left_s, known, limit_s=HOUR) == expected


def test_progress_of_a_slurm_job_has_it(tmp_path: Path) -> None:
    run, now = RunFolder.create(tmp_path, "x"), time.time()
    begun, submitted = (datetime.fromtimestamp(now - ago, UTC).isoformat() for ago in (100, 220))
    write_json(run.job, {"host": "login", "job_id": "7", "submitted": submitted})
    write_json(run.provenance, {"time": submitted})
    started = {"event": "started", "time": begun, "attempt": 0, "steps_per_epoch": 100, "total_steps": 100_000}
    run.attempts.write_text(json.dumps(started) + "\n")
    rows = [{"attempt": 0, "from_step": 0, "time": now - 100}]
    rows += [{"step": step, "epoch": 0, "time": now - 90 + step} for step in (10, 80)]
    (run.journal / "attempt-000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    seconds = dict.fromkeys(PHASES, 0.0) | {"start_up": 10.0, "training": 90.0}
    PhaseTimes(0, 0, "7", None, now - 100, now, 0, "training", seconds, ()).write(run.usage)
    facts = {"state": "running", "submitted": submitted, "epoch": 0, "step": 80}
    known = progress_of(run, facts, {"resources.time": "12:00:00"})
    assert known["left_s"] == pytest.approx(99_920, abs=30)
    assert known["requeues_left"] == 2
    assert known["mean_wait_s"] == pytest.approx(120, abs=1)
    assert known["completion_s"] == pytest.approx(known["left_s"] + 2 * 130, abs=2)
