import json
import math
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hpc_dl.errors import HpcDlError
from hpc_dl.tracking.journal import JournalWriter, read_journal


def write(folder: Path, attempt: int, from_step: int, steps: range, **metrics: float) -> Path:
    writer = JournalWriter(folder, attempt, from_step)
    for step in steps:
        writer.write({"train/loss": attempt + step / 100, **metrics}, step, epoch=step // 10)
    writer.close()
    return writer.path


def strict(line: bytes) -> object:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(line, parse_constant=refuse)


def test_rows_come_back_as_written(tmp_path):
    writer = JournalWriter(tmp_path / "journal", attempt=0)
    writer.write({"train/loss": 0.1 + 0.2, "lr": 1e-3}, step=0, epoch=0)
    writer.write({"test/accuracy": 1}, step=1)
    (first, second) = read_journal(tmp_path / "journal")  # before it is closed: each row is out at once
    assert first.pop("time") <= second.pop("time")
    assert first == {"step": 0, "epoch": 0, "train/loss": 0.1 + 0.2, "lr": 1e-3}
    assert second == {"step": 1, "epoch": None, "test/accuracy": 1}


def test_every_line_is_strict_json_and_loses_nothing(tmp_path):
    writer = JournalWriter(tmp_path, attempt=0)
    values = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": 5e-324, "line\nbreak": 1.0}
    writer.write(values, step=0)
    lines = writer.path.read_bytes().splitlines()
    assert [type(strict(line)) for line in lines] == [dict, dict]
    assert json.loads(lines[1])["a"] == "nan"
    (row,) = read_journal(tmp_path)
    assert math.isnan(row["a"])
    assert {key: row[key] for key in "bcd"} == {"b": math.inf, "c": -math.inf, "d": 5e-324}
    assert row["line\nbreak"] == 1.0


def test_what_is_logged_at_one_step_is_one_row(tmp_path):
    writer = JournalWriter(tmp_path, attempt=0)
    writer.write({"train/loss": 1.0}, step=9, epoch=0)
    writer.write({"val/loss": 2.0}, step=9, epoch=0)
    (row,) = read_journal(tmp_path)
    assert (row["step"], row["train/loss"], row["val/loss"]) == (9, 1.0, 2.0)


def test_replayed_steps_replace_those_of_lost_attempts(tmp_path):
    write(tmp_path, 0, 0, range(1, 31), lost=1.0)
    write(tmp_path, 1, 20, range(21, 26))  # 10 steps of attempt 0 were lost
    write(tmp_path, 2, 10, range(11, 41))  # its checkpoint was damaged: the one before it, of step 10, was used
    rows = read_journal(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 41))
    assert [row["train/loss"] for row in rows] == [step / 100 for step in range(1, 11)] + [
        2 + step / 100 for step in range(11, 41)
    ]
    assert not any("lost" in row for row in rows[10:])


def test_steps_that_are_lost_and_not_replayed_yet_are_no_history(tmp_path):
    write(tmp_path, 0, 0, range(1, 31))
    write(tmp_path, 1, 20, range(0))
    assert [row["step"] for row in read_journal(tmp_path)] == list(range(1, 21))


def test_a_validation_replayed_at_the_step_of_the_checkpoint_replaces_the_lost_one(tmp_path):
    # The checkpoint was written with 10 steps done and before the validation, which is logged at
    # step 10 too.
    first = JournalWriter(tmp_path, attempt=0)
    first.write({"train/loss": 1.0}, step=10)
    first.write({"val/loss": 5.0}, step=10)
    JournalWriter(tmp_path, attempt=1, from_step=10).write({"val/loss": 6.0}, step=10)
    (row,) = read_journal(tmp_path)
    assert (row["train/loss"], row["val/loss"]) == (1.0, 6.0)


def test_attempts_sort_by_number_not_by_name(tmp_path):
    write(tmp_path, 999, 0, range(2))
    write(tmp_path, 1000, 1, range(1, 2))
    assert [row["train/loss"] for row in read_journal(tmp_path)] == [999.0, 1000.01]


def test_a_kill_at_any_byte_costs_at_most_the_row_being_written(tmp_path):
    whole = write(tmp_path / "whole", 0, 0, range(3)).read_bytes()
    torn = tmp_path / "torn" / "attempt-000.jsonl"
    torn.parent.mkdir()
    for size in range(len(whole) + 1):
        torn.write_bytes(whole[:size])
        assert len(read_journal(torn.parent)) == max(0, whole[:size].count(b"\n") - 1)
    torn.write_bytes(whole[:-5])
    write(torn.parent, 1, 2, range(2, 4))
    assert [row["train/loss"] for row in read_journal(torn.parent)] == [0.0, 0.01, 1.02, 1.03]


@pytest.mark.parametrize("damage", [b"{nonsense}", b"", b"[1]", b'{"epoch": 1}'])
def test_damage_in_the_middle_is_told_with_its_place(tmp_path, damage):
    path = write(tmp_path, 0, 0, range(3))
    lines = path.read_bytes().split(b"\n")
    lines[2] = damage
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(ValueError, match=r"attempt-000\.jsonl, line 3: "):
        read_journal(tmp_path)


def test_an_attempt_is_recorded_once(tmp_path):
    write(tmp_path, 0, 0, range(3))
    with pytest.raises(FileExistsError):
        JournalWriter(tmp_path, attempt=0)
    assert len(read_journal(tmp_path)) == 3


@pytest.mark.parametrize("name", ["step", "epoch", "time"])
def test_a_metric_cannot_take_the_journals_own_names(tmp_path, name):
    with pytest.raises(HpcDlError, match=rf"metric {name}: .* Log it as train/{name}"):
        JournalWriter(tmp_path, attempt=0).write({name: 1.0}, step=0)


def test_a_full_disk_leaves_whole_lines(tmp_path, monkeypatch):
    writer = JournalWriter(tmp_path, attempt=0)
    writer.write({"a": 1.0}, step=0)
    before = writer.path.read_bytes()
    real_write, calls = __import__("os").write, []

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


def test_a_reader_beside_the_writer_never_sees_half_a_row(tmp_path):
    thread = threading.Thread(target=write, args=(tmp_path, 0, 0, range(3000)))
    thread.start()
    seen = [0]
    while thread.is_alive():
        rows = read_journal(tmp_path)
        assert [row["step"] for row in rows] == list(range(len(rows)))
        assert all("train/loss" in row for row in rows)
        seen.append(len(rows))
    assert seen == sorted(seen)
    assert len(read_journal(tmp_path)) == 3000


def test_no_journal_is_no_rows(tmp_path):
    assert read_journal(tmp_path / "absent") == []


def test_reading_needs_neither_torch_nor_wandb():
    code = (
        "import sys, hpc_dl.tracking.journal, hpc_dl.tracking.wandb_config, hpc_dl.tracking.wandb_mode;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'pytorch_lightning', 'wandb')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
