"""Checkpoint files: written whole or not at all, verified, damaged ones told from whole ones, old
ones deleted."""

import hashlib
import io
import os
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from hpc_dl.runs import checkpoints
from hpc_dl.runs.checkpoints import Checkpoint, forget_after, listed, newest_whole, problem_of, prune, write
from tests.conftest import PROJECT


def archive(text: str = "weights", size: int = 400) -> bytes:
    """A zip archive of stored files, as torch writes them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("archive/data.pkl", text)
        file.writestr("archive/data/0", random.Random(text).randbytes(size))
    return buffer.getvalue()


def put(folder: Path, kind: checkpoints.Kind, *steps: int) -> None:
    for step in steps:
        write(folder, kind, step, lambda file, step=step: file.write(archive(f"{kind} {step}")))  # type: ignore[misc]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def silent(line: str) -> None:
    raise AssertionError(f"nothing was to be said, but: {line}")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """A disk that takes no more: writing beyond so many bytes of a file fails, in this process."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_checkpoint_has_its_checksum_beside_it_and_a_link(tmp_path: Path) -> None:
    written = write(tmp_path, "step", 123, lambda file: file.write(archive()))
    assert written == Checkpoint(123, tmp_path / "step-00000123.ckpt")
    assert written.path.read_bytes() == archive()
    assert names(tmp_path) == {"step-00000123.ckpt", "step-00000123.ckpt.sha256", "last.ckpt"}
    assert os.readlink(tmp_path / "last.ckpt") == "step-00000123.ckpt", "relative: a moved run keeps its links"
    done = subprocess.run(["sha256sum", "--check", written.checksum_file.name], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done.stderr
    write(tmp_path, "best", 100, lambda file: file.write(archive()))
    assert os.readlink(tmp_path / "best.ckpt") == "best-00000100.ckpt"


def test_what_is_listed(tmp_path: Path) -> None:
    assert listed(tmp_path / "none", "step") == []
    put(tmp_path, "step", 20, 3, 123456789)
    put(tmp_path, "best", 7)
    for stranger in ("step-1.ckpt", "step-00000009.ckpt.damaged", ".step-00000009.ckpt.1.tmp", "step-0000000x.ckpt"):
        (tmp_path / stranger).touch()
    assert [checkpoint.step for checkpoint in listed(tmp_path, "step")] == [3, 20, 123456789]
    assert [checkpoint.step for checkpoint in listed(tmp_path, "best")] == [7]


def test_the_same_step_may_be_written_twice(tmp_path: Path) -> None:
    write(tmp_path, "step", 5, lambda file: file.write(archive("before the validation")))
    write(tmp_path, "step", 5, lambda file: file.write(archive("after it")))
    (checkpoint,) = listed(tmp_path, "step")
    assert checkpoint.path.read_bytes() == archive("after it")
    assert problem_of(checkpoint) == ""


def test_a_disk_that_gets_full_leaves_what_was_there(tmp_path: Path) -> None:
    put(tmp_path, "step", 5)
    before = names(tmp_path)
    large = archive(size=200_000)

    def in_pieces(file: BinaryIO) -> None:
        for start in range(0, len(large), 1000):
            assert file.write(large[start : start + 1000]) in (1000, len(large) - start), "torch counts what it wrote"
        file.flush()

    with largest_file(100_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path, "step", 9, in_pieces)
    with largest_file(100_000), pytest.raises(OSError, match="File too large"):
        write(tmp_path, "step", 5, in_pieces)
    assert names(tmp_path) == before
    assert newest_whole(tmp_path, silent) == listed(tmp_path, "step")[0]
    write(tmp_path, "step", 9, in_pieces)
    assert newest_whole(tmp_path, silent) == Checkpoint(9, tmp_path / "step-00000009.ckpt")


def test_an_error_while_saving_leaves_nothing_behind(tmp_path: Path) -> None:
    def unsaveable(file: BinaryIO) -> None:
        file.write(b"half")
        raise TypeError("cannot pickle a lock")

    with pytest.raises(TypeError, match="a lock"):
        write(tmp_path, "step", 1, unsaveable)
    assert names(tmp_path) == set()


def test_a_disk_that_gives_back_other_bytes_is_found_out(tmp_path: Path) -> None:
    put(tmp_path, "step", 5)
    before = names(tmp_path)

    def save(file: BinaryIO) -> None:
        file.write(archive())
        # Through another descriptor, behind the back of the writer, as bad memory or a bad disk
        # would.
        (temporary,) = tmp_path.glob(".step-*.tmp")
        descriptor = os.open(temporary, os.O_WRONLY)
        os.pwrite(descriptor, b"!", 700)
        os.close(descriptor)

    with pytest.raises(OSError, match="does not hold what was written to it"):
        write(tmp_path, "step", 9, save)
    assert names(tmp_path) == before


@pytest.mark.parametrize("with_checksum", [True, False])
def test_no_flipped_bit_of_the_content_goes_unnoticed(tmp_path: Path, with_checksum: bool) -> None:
    put(tmp_path, "step", 1)
    (checkpoint,) = listed(tmp_path, "step")
    if not with_checksum:
        checkpoint.checksum_file.unlink()
    assert problem_of(checkpoint) == ""
    whole = checkpoint.path.read_bytes()
    with zipfile.ZipFile(checkpoint.path) as file:
        content = file.read("archive/data/0")
    begin = whole.index(content)
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        checkpoint.path.write_bytes(damaged)
        problem = problem_of(checkpoint)
        if with_checksum:
            assert problem == "its content does not match its checksum"
        elif begin <= place < begin + len(content):
            assert problem, f"byte {place}"  # the archive's own checksums do not cover its dates and the like


@pytest.mark.parametrize("with_checksum", [True, False])
@pytest.mark.parametrize("length", [0, 1, 30, 0.5, -1])
def test_a_truncated_file(tmp_path: Path, with_checksum: bool, length: float) -> None:
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
def test_a_damaged_checksum_condemns_no_whole_checkpoint(tmp_path: Path, checksum: bytes) -> None:
    put(tmp_path, "step", 1, 2)
    older, newest = listed(tmp_path, "step")
    newest.checksum_file.write_bytes(checksum)
    assert newest_whole(tmp_path, silent) == newest
    content = bytearray(newest.path.read_bytes())
    content[300] ^= 1
    newest.path.write_bytes(content)
    said: list[str] = []
    assert newest_whole(tmp_path, said.append) == older
    assert len(said) == 1


def test_the_newest_whole_one_is_found_and_the_damaged_ones_are_told(tmp_path: Path) -> None:
    assert newest_whole(tmp_path, silent) is None
    put(tmp_path, "step", 1, 2, 3)
    first, second, third = listed(tmp_path, "step")
    assert newest_whole(tmp_path, silent) == third
    os.truncate(third.path, 100)
    second.path.write_bytes(archive("another"))
    said: list[str] = []
    assert newest_whole(tmp_path, said.append) == first
    assert [line.partition(" is damaged")[0] for line in said] == [str(third.path), str(second.path)]
    assert all(line.endswith("it is renamed to *.damaged, and the one before it is used") for line in said)
    assert {"step-00000002.ckpt.damaged", "step-00000003.ckpt.damaged"} < names(tmp_path)
    assert newest_whole(tmp_path, silent) == first, "they are not found again"
    first.path.write_bytes(b"")
    said.clear()
    assert newest_whole(tmp_path, said.append) is None
    (line,) = said
    assert line.endswith("none is left: the training begins anew")


def test_two_resumable_ones_are_kept_with_their_best(tmp_path: Path) -> None:
    put(tmp_path, "best", 10, 20, 35)
    put(tmp_path, "step", 5, 15, 30, 40)
    prune(tmp_path)
    assert [c.step for c in listed(tmp_path, "step")] == [30, 40]
    assert [c.step for c in listed(tmp_path, "best")] == [20, 35], "20 was the best when step 30 was saved"
    put(tmp_path, "step", 50)
    prune(tmp_path)
    assert [c.step for c in listed(tmp_path, "step")] == [40, 50]
    assert [c.step for c in listed(tmp_path, "best")] == [35]
    assert names(tmp_path) == {
        *(f"{name}{end}" for name in ("step-00000040", "step-00000050", "best-00000035")
          for end in (".ckpt", ".ckpt.sha256")),
        "last.ckpt", "best.ckpt",
    }  # fmt: skip


def test_a_best_one_that_is_newer_than_all_resumable_ones_stays(tmp_path: Path) -> None:
    put(tmp_path, "best", 10, 20, 30)
    prune(tmp_path)
    assert [c.step for c in listed(tmp_path, "best")] == [30]
    put(tmp_path, "step", 5)
    put(tmp_path, "best", 40)
    prune(tmp_path)
    assert [c.step for c in listed(tmp_path, "best")] == [40]


def test_after_damage_the_older_one_finds_its_own_best(tmp_path: Path) -> None:
    put(tmp_path, "best", 10)
    put(tmp_path, "step", 15)
    put(tmp_path, "best", 20)
    put(tmp_path, "step", 25)
    prune(tmp_path)
    os.truncate(tmp_path / "step-00000025.ckpt", 9)
    said: list[str] = []
    start = newest_whole(tmp_path, said.append)
    assert start is not None and start.step == 15
    forget_after(tmp_path, start.step)
    assert [c.step for c in listed(tmp_path, "best")] == [10]
    assert os.readlink(tmp_path / "last.ckpt") == "step-00000015.ckpt"
    assert os.readlink(tmp_path / "best.ckpt") == "best-00000010.ckpt"


def test_what_a_lost_attempt_left_is_forgotten(tmp_path: Path) -> None:
    put(tmp_path, "best", 10, 30)
    put(tmp_path, "step", 20)
    (tmp_path / ".step-00000040.ckpt.4711.tmp").write_bytes(b"half")
    (tmp_path / "mine.txt").touch()
    forget_after(tmp_path, 20)
    assert names(tmp_path) == {
        "best-00000010.ckpt", "best-00000010.ckpt.sha256", "step-00000020.ckpt", "step-00000020.ckpt.sha256",
        "last.ckpt", "best.ckpt", "mine.txt",
    }  # fmt: skip
    assert (tmp_path / "best.ckpt").resolve().name == "best-00000010.ckpt"
    forget_after(tmp_path, -1)
    assert names(tmp_path) == {"mine.txt"}


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr("os.symlink", refuse)  # FAT and some network file systems
    put(tmp_path, "step", 1, 2)
    assert not (tmp_path / "last.ckpt").is_symlink()
    assert (tmp_path / "last.ckpt").read_bytes() == (tmp_path / "step-00000002.ckpt").read_bytes()


_WRITER = """
import sys, time
from pathlib import Path
from hpc_dl.runs import checkpoints
from tests.runs.test_checkpoints import archive

def slowly(file):
    content = archive("new", 4000)
    for start in range(0, len(content), 500):
        file.write(content[start : start + 500])
        file._file.flush()
        time.sleep(0.05)

checkpoints.write(Path(sys.argv[1]), "step", 9, slowly)
"""


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.002)


@pytest.mark.parametrize("written", [0, 1500, 3500])
def test_a_kill_in_the_middle_of_a_write_leaves_the_one_before(tmp_path: Path, written: int) -> None:
    put(tmp_path, "step", 5)
    writer = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], cwd=PROJECT)
    try:
        until(lambda: any(path.stat().st_size >= written for path in tmp_path.glob(".step-00000009.*.tmp")))
    finally:
        writer.kill()
        writer.wait(60)
    assert writer.returncode == -signal.SIGKILL
    assert [c.step for c in listed(tmp_path, "step")] == [5]
    start = newest_whole(tmp_path, silent)
    assert start is not None and start.step == 5
    forget_after(tmp_path, start.step)
    assert names(tmp_path) == {"step-00000005.ckpt", "step-00000005.ckpt.sha256", "last.ckpt"}


def test_a_kill_between_the_renames_leaves_a_whole_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At each call that changes the folder in turn: what is found afterwards is whole, and no older
    than before."""

    class Killed(BaseException):
        pass

    def dying(name: str, calls: list[int], fatal: int) -> Callable[..., object]:
        original = getattr(os, name)

        def call(*args: object, **kwargs: object) -> object:
            calls.append(1)
            if len(calls) == fatal:
                raise Killed
            return original(*args, **kwargs)

        return call

    reached = set()
    for fatal in range(1, 12):
        folder = tmp_path / str(fatal)
        folder.mkdir()
        put(folder, "step", 5)
        write(folder, "step", 9, lambda file: file.write(archive("old")))
        calls: list[int] = []
        with monkeypatch.context() as patch:
            for name in ("replace", "fsync", "unlink", "symlink"):
                patch.setattr(f"os.{name}", dying(name, calls, fatal))
            try:
                write(folder, "step", 9, lambda file: file.write(archive("new")))
            except Killed:
                reached.add(fatal)
        start = newest_whole(folder, silent)
        assert start is not None and start.step == 9
        assert start.path.read_bytes() in (archive("old"), archive("new"))
        assert (folder / "last.ckpt").resolve() == start.path
        assert hashlib.sha256(start.path.read_bytes()).hexdigest()
    assert len(reached) >= 5, "the write has fewer steps than it was believed to have"
