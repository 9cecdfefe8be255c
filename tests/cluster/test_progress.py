"""The progress of a run, from what its folder has: attempts, journal, configuration."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.progress import NOT_UPLOADED, progress_of, wandb_of
from hpc_dl.runs.folder import RunFolder

NOW = 1_800_000_000.0
FACTS = {"state": "running", "submitted": "2027-01-15T07:58:20+0000", "epoch": 2, "step": 250}  # 100 s before NOW
SETTINGS = {"trainer.max_epochs": 4}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run 100 s after its submission: started after 60 s, now at step 250 of 400."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    run = RunFolder.create(tmp_path, "x")
    started = {"event": "started", "time": "2027-01-15T07:59:20+0000", "attempt": 0, "from_step": 0}
    run.attempts.write_text(json.dumps(started | {"steps_per_epoch": 100, "total_steps": 400}) + "\n")
    rows: list[dict[str, Any]] = [{"attempt": 0, "from_step": 0, "time": NOW - 30}]
    rows += [
        {"step": step, "epoch": step // 100, "time": NOW - 30 + step / 10, "train/samples_per_s": 10.0 * step}
        for step in (50, 150, 250)
    ]
    (run.journal / "attempt-000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def test_running_training(run: RunFolder) -> None:
    assert progress_of(run, FACTS, SETTINGS) == {
        "waited_s": 60.0, "epochs": 4, "total_steps": 400, "epoch_done": 0.5, "samples_per_s": 2500.0,
        "left_s": 150 * 0.1 - 5,  # the last row is 5 s old
    }  # fmt: skip


def test_waiting_and_ended_runs(run: RunFolder) -> None:
    run.attempts.unlink()
    assert progress_of(run, FACTS | {"state": "pending"}, SETTINGS) == {"waited_s": 100.0}
    assert progress_of(run, FACTS, SETTINGS) == {}, "it is starting"
    assert progress_of(run, FACTS | {"state": "finished"}, SETTINGS) == {}


def test_only_rows_of_the_current_attempt_count(run: RunFolder) -> None:
    late = {"event": "started", "time": "2027-01-15T07:59:50+0000", "steps_per_epoch": 100, "total_steps": 400}
    with run.attempts.open("a") as file:
        file.write(json.dumps(late) + "\n")
    known = progress_of(run, FACTS, SETTINGS)
    assert "left_s" not in known and known["samples_per_s"] == 2500.0, "one row says nothing about the speed of steps"
    assert known["waited_s"] == 60.0


@pytest.mark.parametrize("length", [{}, {"steps_per_epoch": "x", "total_steps": []}, {"steps_per_epoch": 0}])
def test_unknown_length(run: RunFolder, length: dict[str, Any]) -> None:
    run.attempts.write_text(json.dumps({"event": "started", "time": "2027-01-15T07:59:20+0000", **length}) + "\n")
    assert progress_of(run, FACTS, {"trainer.max_epochs": -1}) == {"waited_s": 60.0, "samples_per_s": 2500.0}


def test_damaged_files_hide_nothing_else(run: RunFolder) -> None:
    (run.journal / "attempt-000.jsonl").write_text("{\n{}\n")
    assert progress_of(run, FACTS, SETTINGS) == {}
    run.attempts.write_text('{"event": "started", "time": 3}\n')
    assert progress_of(run, FACTS | {"submitted": None, "state": "pending"}, SETTINGS) == {}


def test_page_in_wandb(run: RunFolder) -> None:
    online = {"wandb.mode": "online"}
    assert wandb_of(run, {"wandb.mode": "disabled"}) == wandb_of(run, {}) == {}
    assert wandb_of(run, online) == {"wandb": NOT_UPLOADED}
    write_json(run.path / "wandb.json", {"id": "x", "url": "https://wandb.example/x"})
    assert wandb_of(run, online) == {"wandb": "https://wandb.example/x"}
    (run.path / "wandb.json").write_text("{")
    assert wandb_of(run, online) == {}
