"""Damaged checkpoint files: detected, reported, and replaced by an older intact one."""

import os
import zipfile
from pathlib import Path

import pytest

from hpc_dl.runs.checkpoints import delete_after, listed, newest_intact, problem_of, prune
from tests.runs.checkpoint_files import archive, names, put, silent


@pytest.mark.parametrize("with_checksum", [True, False])
def test_flipped_bits_are_detected(tmp_path: Path, with_checksum: bool) -> None:
    put(tmp_path, "step", 1)
    (checkpoint,) = listed(tmp_path, "step")
    if not with_checksum:
        checkpoint.checksum_file.unlink()
    assert problem_of(checkpoint) == ""
    intact = checkpoint.path.read_bytes()
    with zipfile.ZipFile(checkpoint.path) as file:
        content = file.read("archive/data/0")
    start = intact.index(content)
    for place in range(len(intact)):
        damaged = bytearray(intact)
        damaged[place] ^= 1 << place % 8
        checkpoint.path.write_bytes(damaged)
        problem = problem_of(checkpoint)
        if with_checksum:
            assert problem == "its content does not match its checksum"
        elif start <= place < start + len(content):
            assert problem, f"byte {place}"  # the checksums inside the archive do not cover its metadata


@pytest.mark.parametrize("with_checksum", [True, False])
@pytest.mark.parametrize("length", [0, 1, 30, 0.5, -1])
def test_truncated_files_are_detected(tmp_path: Path, with_checksum: bool, length: float) -> None:
    put(tmp_path, "step", 1)
    (checkpoint,) = listed(tmp_path, "step")
    size = checkpoint.path.stat().st_size
    if not with_checksum:
        checkpoint.checksum_file.unlink()
    os.truncate(checkpoint.path, int(length * size) if length == 0.5 else int(length) % size)
    assert problem_of(checkpoint)


@pytest.mark.parametrize(
    "checksum", [b"", b"\n", b"garbage", b"\xff\xfe\x00", b"deadbeef  step-00000002.ckpt\n", b"\0" * 85]
)
def test_damaged_checksum_file_does_not_invalidate_the_checkpoint(tmp_path: Path, checksum: bytes) -> None:
    put(tmp_path, "step", 1, 2)
    older, newest = listed(tmp_path, "step")
    newest.checksum_file.write_bytes(checksum)
    assert newest_intact(tmp_path, silent) == newest
    content = bytearray(newest.path.read_bytes())
    content[300] ^= 1
    newest.path.write_bytes(content)
    messages: list[str] = []
    assert newest_intact(tmp_path, messages.append) == older
    assert len(messages) == 1


def test_newest_intact_skips_and_reports_damaged_checkpoints(tmp_path: Path) -> None:
    assert newest_intact(tmp_path, silent) is None
    put(tmp_path, "step", 1, 2, 3)
    first, second, third = listed(tmp_path, "step")
    assert newest_intact(tmp_path, silent) == third
    os.truncate(third.path, 100)
    second.path.write_bytes(archive("different"))
    messages: list[str] = []
    assert newest_intact(tmp_path, messages.append) == first
    assert [line.partition(" is damaged")[0] for line in messages] == [str(third.path), str(second.path)]
    assert all(line.endswith("it was renamed to *.damaged, and the previous one is used") for line in messages)
    assert {"step-00000002.ckpt.damaged", "step-00000003.ckpt.damaged"} < names(tmp_path)
    assert newest_intact(tmp_path, silent) == first, "they are not reported again"
    first.path.write_bytes(b"")
    messages.clear()
    assert newest_intact(tmp_path, messages.append) is None
    (line,) = messages
    assert line.endswith("there is no other: the training starts over")


def test_best_weights_after_falling_back_to_an_older_checkpoint(tmp_path: Path) -> None:
    put(tmp_path, "best", 10)
    put(tmp_path, "step", 15)
    put(tmp_path, "best", 20)
    put(tmp_path, "step", 25)
    prune(tmp_path)
    os.truncate(tmp_path / "step-00000025.ckpt", 9)
    messages: list[str] = []
    start = newest_intact(tmp_path, messages.append)
    assert start is not None and start.step == 15
    delete_after(tmp_path, start.step)
    assert [checkpoint.step for checkpoint in listed(tmp_path, "best")] == [10]
    assert os.readlink(tmp_path / "last.ckpt") == "step-00000015.ckpt"
    assert os.readlink(tmp_path / "best.ckpt") == "best-00000010.ckpt"
