"""The journal: rows, attempts, damaged files and readers that run at the same time."""

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpc_dl.errors import HpcDlError, RunError
from hpc_dl.tracking import journal
from hpc_dl.tracking.journal import JournalWriter, read_journal


def write(folder: Path, attempt: int, from_step: int, steps: range, **metrics: float) -> Path:
    writer = JournalWriter(folder, attempt, from_step)
    for step in steps:
        writer.write({"train/loss": attempt + step / 100, **metrics}, step, epoch=step // 10)
    writer.close()
    return writer.path


def parse_strict(line: bytes) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_rows_round_trip(tmp_path):
    writer = JournalWriter(tmp_path / "journal", attempt=0)
    writer.write({"train/loss": 0.1 + 0.2, "lr": 1e-3}, step=0, epoch=0)
    writer.write({"test/accuracy": 1}, step=1)
    (first, second) = read_journal(tmp_path / "journal")  # each row can be read before the file is closed
    assert first.pop("time") <= second.pop("time")
    assert first == {"step": 0, "epoch": 0, "train/loss": 0.1 + 0.2, "lr": 1e-3}
    assert second == {"step": 1, "epoch": None, "test/accuracy": 1}


def test_lines_are_strict_json_and_keep_all_values(tmp_path):
    writer = JournalWriter(tmp_path, attempt=0)
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 5e-324, "line\nbreak": 1.0}
    writer.write(values, step=0)
    lines = writer.path.read_bytes().splitlines()
    assert [type(parse_strict(line)) for line in lines] == [dict, dict]
    assert json.loads(lines[1])["a"] == "nan"
    (row,) = read_journal(tmp_path)
    assert math.isnan(row["a"])
    assert {key: row[key] for key in "bcd"} == {"b": math.inf, "c": -math.inf, "d": 5e-324}
    assert row["line\nbreak"] == 1.0


def test_metrics_of_one_step_are_one_row(tmp_path):
    writer = JournalWriter(tmp_path, attempt=0)
    writer.write({"train/loss": 1.0}, step=9, epoch=0)
    writer.write({"val/loss": 2.0}, step=9, epoch=0)
    (row,) = read_journal(tmp_path)
    assert (row["step"], row["train/loss"], row["val/loss"]) == (9, 1.0, 2.0)


def test_replayed_steps_replace_lost_ones(tmp_path):
    write(tmp_path, 0, 0, range(1, 31), lost=1.0)
    write(tmp_path, 1, 20, range(21, 26))  # 10 steps of attempt 0 were lost
    write(tmp_path, 2, 10, range(11, 41))  # resumes from step 10, since the checkpoint of step 20 was damaged
    rows = read_journal(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert [row["train/loss"] for row in rows] == [step / 100 for step in range(1, 11)] + [
        2 + step / 100 for step in range(11, 41)
    ]
    assert not any("lost" in row for row in rows[10:])


def test_lost_steps_are_dropped_before_they_are_replayed(tmp_path):
    write(tmp_path, 0, 0, range(1, 31))
    write(tmp_path, 1, 20, range(0))
    assert [row["step"] for row in read_journal(tmp_path)] == list(range(1, 21))


def test_replayed_validation_replaces_the_lost_one(tmp_path):
    # The checkpoint was written after 10 steps, before the validation, which is also logged at
    # step 10.
    first = JournalWriter(tmp_path, attempt=0)
    first.write({"train/loss": 1.0}, step=10)
    first.write({"val/loss": 5.0}, step=10)
    JournalWriter(tmp_path, attempt=1, from_step=10).write({"val/loss": 6.0}, step=10)
    (row,) = read_journal(tmp_path)
    assert (row["train/loss"], row["val/loss"]) == (1.0, 6.0)


def test_attempts_sort_by_number(tmp_path):
    write(tmp_path, 999, 0, range(2))
    write(tmp_path, 1000, 1, range(1, 2))
    assert [row["train/loss"] for row in read_journal(tmp_path)] == [999.0, 1000.01]


def test_kill_at_any_byte_loses_at_most_one_row(tmp_path):
    complete = write(tmp_path / "complete", 0, 0, range(3)).read_bytes()
    torn = tmp_path / "torn" / "attempt-000.jsonl"
    torn.parent.mkdir()
    for size in range(len(complete) + 1):
        torn.write_bytes(complete[:size])
        assert len(read_journal(torn.parent)) == max(0, complete[:size].count(b"\n") - 1)
    torn.write_bytes(complete[:-5])
    write(torn.parent, 1, 2, range(2, 4))
    assert [row["train/loss"] for row in read_journal(torn.parent)] == [0.0, 0.01, 1.02, 1.03]


@pytest.mark.parametrize("damage", [b"{nonsense}", b"", b"[1]", b'{"epoch": 1}'])
def test_damaged_line_is_reported_with_its_number(tmp_path, damage):
    path = write(tmp_path, 0, 0, range(3))
    lines = path.read_bytes().split(b"\n")
    lines[2] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=r"attempt-000\.jsonl, line 3: "):
        read_journal(tmp_path)


def test_attempt_number_is_unique(tmp_path):
    write(tmp_path, 0, 0, range(3))
    with pytest.raises(FileExistsError):
        JournalWriter(tmp_path, attempt=0)
    assert len(read_journal(tmp_path)) == 3


@pytest.mark.parametrize("name", ["step", "epoch", "time"])
def test_reserved_metric_names_are_refused(tmp_path, name):
    with pytest.raises(HpcDlError, match=rf"metric {name}: .* Log it as train/{name}"):
        JournalWriter(tmp_path, attempt=0).write({name: 1.0}, step=0)


def test_full_disk_leaves_complete_lines(tmp_path, monkeypatch):
    writer = JournalWriter(tmp_path, attempt=0)
    writer.write({"a": 1.0}, step=0)
    before = writer.path.read_bytes()
    real_write, calls = os.write, []

    def short_write(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) == 1:
            return real_write(descriptor, data[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hpc_dl.tracking.journal.os.write", short_write)
    with pytest.raises(OSError, match="No space left"):
        writer.write({"a": 2.0}, step=1)
    monkeypatch.undo()
    assert writer.path.read_bytes() == before
    writer.write({"a": 3.0}, step=1)
    assert [row["a"] for row in read_journal(tmp_path)] == [1.0, 3.0]


def test_reader_never_sees_an_incomplete_row(tmp_path):
    thread = threading.Thread(target=write, args=(tmp_path, 0, 0, range(3000)))
    thread.start()
    row_counts = [0]
    while thread.is_alive():
        rows = read_journal(tmp_path)
        assert [row["step"] for row in rows] == list(range(len(rows)))
        assert all("train/loss" in row for row in rows)
        row_counts.append(len(rows))
    assert row_counts == sorted(row_counts)
    assert len(read_journal(tmp_path)) == 3000


def test_missing_journal_has_no_rows(tmp_path):
    assert read_journal(tmp_path / "absent") == []


def test_reading_imports_neither_torch_nor_wandb():
    code = (
        "import sys, hpc_dl.tracking.journal, hpc_dl.tracking.wandb_config, hpc_dl.tracking.wandb_mode;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pytorch_lightning', 'wandb')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("act", ["remove", "rename", "replace"])
def test_rows_do_not_vanish_in_a_removed_folder(tmp_path: Path, act: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_SECONDS_BETWEEN_CHECKS", 0.0)
    run = tmp_path / "run"
    writer = JournalWriter(run / "journal", 0)
    writer.write({"train/loss": 1.0}, step=1)
    if act == "remove":
        shutil.rmtree(run)
    else:
        run.rename(tmp_path / "elsewhere")
    if act == "replace":
        JournalWriter(run / "journal", 0).close()
    with pytest.raises(RunError, match=r"/run: its journal was removed or renamed while it was training"):
        writer.write({"train/loss": 1.0}, step=2)
