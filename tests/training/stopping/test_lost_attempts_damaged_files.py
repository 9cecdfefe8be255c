"""Damaged checkpoints: an earlier one is used, and best weights are never replaced silently."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.errors import Stopped
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts as history
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from tests.training.attempts import Stop, attempt, finish
from tests.training.stopping.interrupted_runs import STEPS

pytestmark = pytest.mark.slow


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, truncate, empty])
def test_damaged_newest_checkpoint(
    saved_run: RunFolder, saved_reference: RunFolder, damage: Callable[[Path], None]
) -> None:
    assert attempt(saved_run, Stop(26)) == Stopped.exit_status
    older, newest = listed(saved_run.checkpoints, "step")
    assert (older.step, newest.step) == (24, 26)
    damage(newest.path)
    finish(saved_run)
    assert history.history(saved_run)[2]["from_step"] == 24
    log = saved_run.log(0).read_text()
    assert f"{newest.path} is damaged" in log and "the previous one is used" in log
    assert (saved_run.checkpoints / "step-00000026.ckpt.damaged").exists()
    assert differences(saved_run, saved_reference) == []


@pytest.mark.parametrize("checksum", [None, b"", b"garbage\xff\n"])
def test_missing_or_damaged_checksum(saved_run: RunFolder, saved_reference: RunFolder, checksum: bytes | None) -> None:
    assert attempt(saved_run, Stop(26)) == Stopped.exit_status
    newest = listed(saved_run.checkpoints, "step")[-1]
    if checksum is None:
        newest.checksum_file.unlink()
    else:
        newest.checksum_file.write_bytes(checksum)
    finish(saved_run)
    assert history.history(saved_run)[2]["from_step"] == 26
    assert differences(saved_run, saved_reference) == []


def test_all_checkpoints_damaged_starts_over(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    assert attempt(saved_run, Stop(26)) == Stopped.exit_status
    for checkpoint in listed(saved_run.checkpoints, "step"):
        flip(checkpoint.path)
    finish(saved_run)
    assert history.history(saved_run)[2]["from_step"] == 0
    log = saved_run.log(0).read_text()
    assert log.count("is damaged") == 2 and "there is no other: the training starts over" in log
    assert {path.name for path in saved_run.checkpoints.glob("*.damaged")} == {
        "step-00000024.ckpt.damaged", "step-00000026.ckpt.damaged"
    }  # fmt: skip
    assert differences(saved_run, saved_reference) == []


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
def test_damaged_best_weights_fail_the_run(saved_run: RunFolder, damage: Callable[[Path], None]) -> None:
    # After the last validation no other weights will replace them.
    assert attempt(saved_run, Stop(STEPS, "on_test_batch_start")) == Stopped.exit_status
    best = listed(saved_run.checkpoints, "best")[-1]
    damage(best.path)
    with pytest.raises(Exception, match=best.path.name):
        finish(saved_run)
    assert read_state(saved_run)["state"] == "failed"
    assert best.path.name in read_state(saved_run)["reason"]
    assert read_json(saved_run.result) is None
