"""Checkpoint files: written completely or not at all, listed, linked, pruned."""

import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from hpc_dl.runs.checkpoints import Checkpoint, delete_after, listed, newest_intact, problem_of, prune, write
from tests.runs.checkpoint_files import archive, names, put, silent


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Simulate a full disk: in this process, writing beyond ``size`` bytes of a file fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_write_adds_checksum_and_link(tmp_path: Path) -> None:
    written = write(tmp_path, "step", 123, lambda file: file.write(archive()))
    assert written == Checkpoint(123, tmp_path / "step-00000123.ckpt")
    assert written.path.read_bytes() == archive()
    assert names(tmp_path) == {"step-00000123.ckpt", "step-00000123.ckpt.sha256", "last.ckpt"}
    assert os.readlink(tmp_path / "last.ckpt") == "step-00000123.ckpt", "relative, so that a moved run keeps its links"
    done = subprocess.run(["sha256sum", "--check", written.checksum_file.name], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    write(tmp_path, "best", 100, lambda file: file.write(archive()))
    assert os.readlink(tmp_path / "best.ckpt") == "best-00000100.ckpt"


def test_listed_ignores_other_files(tmp_path: Path) -> None:
    assert listed(tmp_path / "none", "step") == []
    put(tmp_path, "step", 20, 3, 123456789)
    put(tmp_path, "best", 7)
    for other in ("step-1.ckpt", "step-00000009.ckpt.damaged", ".step-00000009.ckpt.1.tmp", "step-0000000x.ckpt"):
        (tmp_path / other).touch()
    assert [checkpoint.step for checkpoint in listed(tmp_path, "step")] == [3, 20, 123456789]
    assert [checkpoint.step for checkpoint in listed(tmp_path, "best")] == [7]


def test_write_replaces_the_same_step(tmp_path: Path) -> None:
    write(tmp_path, "step", 5, lambda file: file.write(archive("before the validation")))
    write(tmp_path, "step", 5, lambda file: file.write(archive("after it")))
    (checkpoint,) = listed(tmp_path, "step")
    assert checkpoint.path.read_bytes() == archive("after it")
    assert problem_of(checkpoint) == ""


def test_full_disk_keeps_earlier_checkpoints(tmp_path: Path) -> None:
    put(tmp_path, "step", 5)
    before = names(tmp_path)
    large = archive(size=200_000)

    def in_pieces(file: BinaryIO) -> None:
        for start in range(0, len(large), 1000):
            assert file.write(large[start : start + 1000]) in (1000, len(large) - start), (
                "torch relies on the returned size"
            )
        file.flush()

    with largest_file(100_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path, "step", 9, in_pieces)
    with largest_file(100_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path, "step", 5, in_pieces)
    assert names(tmp_path) == before
    assert newest_intact(tmp_path, silent) == listed(tmp_path, "step")[0]
    write(tmp_path, "step", 9, in_pieces)
    assert newest_intact(tmp_path, silent) == Checkpoint(9, tmp_path / "step-00000009.ckpt")


def test_failed_save_leaves_no_files(tmp_path: Path) -> None:
    def unsaveable(file: BinaryIO) -> None:
        file.write(b"half")
        raise TypeError("cannot pickle a lock")

    with pytest.raises(TypeError, match="a lock"):
        write(tmp_path, "step", 1, unsaveable)
    assert names(tmp_path) == set()


def test_disk_that_changes_bytes_is_detected(tmp_path: Path) -> None:
    put(tmp_path, "step", 5)
    before = names(tmp_path)

    def save(file: BinaryIO) -> None:
        file.write(archive())
        # Through another descriptor, unnoticed by the writer, like bad memory or a bad disk.
        (temporary,) = tmp_path.glob(".step-*.tmp")
        descriptor = os.open(temporary, os.O_WRONLY)
        os.pwrite(descriptor, b"!", 700)
        os.close(descriptor)

    with pytest.raises(OSError, match="does not contain what was written to it"):
        write(tmp_path, "step", 9, save)
    assert names(tmp_path) == before


def test_prune_keeps_two_checkpoints_with_their_best_weights(tmp_path: Path) -> None:
    put(tmp_path, "best", 10, 20, 35)
    put(tmp_path, "step", 5, 15, 30, 40)
    prune(tmp_path)
    assert [checkpoint.step for checkpoint in listed(tmp_path, "step")] == [30, 40]
    assert [checkpoint.step for checkpoint in listed(tmp_path, "best")] == [20, 35], (
        "20 was the best when step 30 was saved"
    )
    put(tmp_path, "step", 50)
    prune(tmp_path)
    assert [checkpoint.step for checkpoint in listed(tmp_path, "step")] == [40, 50]
    assert [checkpoint.step for checkpoint in listed(tmp_path, "best")] == [35]
    assert names(tmp_path) == {
        *(f"{name}{end}" for name in ("step-00000040", "step-00000050", "best-00000035")
          for end in (".ckpt", ".ckpt.sha256")),
        "last.ckpt", "best.ckpt",
    }  # fmt: skip


def test_prune_keeps_the_newest_best_weights(tmp_path: Path) -> None:
    put(tmp_path, "best", 10, 20, 30)
    prune(tmp_path)
    assert [checkpoint.step for checkpoint in listed(tmp_path, "best")] == [30]
    put(tmp_path, "step", 5)
    put(tmp_path, "best", 40)
    prune(tmp_path)
    assert [checkpoint.step for checkpoint in listed(tmp_path, "best")] == [40]


def test_delete_after_removes_files_of_a_lost_attempt(tmp_path: Path) -> None:
    put(tmp_path, "best", 10, 30)
    put(tmp_path, "step", 20)
    (tmp_path / ".step-00000040.ckpt.4711.tmp").write_bytes(b"half")
    (tmp_path / "mine.txt").touch()
    delete_after(tmp_path, 20)
    assert names(tmp_path) == {
        "best-00000010.ckpt", "best-00000010.ckpt.sha256", "step-00000020.ckpt", "step-00000020.ckpt.sha256",
        "last.ckpt", "best.ckpt", "mine.txt",
    }  # fmt: skip
    assert (tmp_path / "best.ckpt").resolve().name == "best-00000010.ckpt"
    delete_after(tmp_path, -1)
    assert names(tmp_path) == {"mine.txt"}


def test_copies_on_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.symlink", refuse)  # FAT and some network file systems
    put(tmp_path, "step", 1, 2)
    assert not (tmp_path / "last.ckpt").is_symlink()
    assert (tmp_path / "last.ckpt").read_bytes() == (tmp_path / "step-00000002.ckpt").read_bytes()
