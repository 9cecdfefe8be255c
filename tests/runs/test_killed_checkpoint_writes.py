"""Kills during a checkpoint write, which never leave the run without an intact checkpoint."""

import hashlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.runs.checkpoints import delete_after, listed, newest_intact, write
from tests.child_processes import start_module
from tests.runs.checkpoint_files import archive, names, put, silent


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"condition not reached within {timeout_s:g} s"
        time.sleep(0.002)


@pytest.mark.parametrize("written", [0, 1500, 3500])
def test_kill_during_a_write_keeps_the_previous_checkpoint(tmp_path: Path, written: int) -> None:
    put(tmp_path, "step", 5)
    writer = start_module("tests.runs.slow_checkpoint_writer", tmp_path)
    try:
        wait_until(lambda: any(path.stat().st_size >= written for path in tmp_path.glob(".step-00000009.*.tmp")))
    finally:
        writer.kill()
        writer.wait(60)
    assert writer.returncode == -signal.SIGKILL
    assert [checkpoint.step for checkpoint in listed(tmp_path, "step")] == [5]
    start = newest_intact(tmp_path, silent)
    assert start is not None and start.step == 5
    delete_after(tmp_path, start.step)
    assert names(tmp_path) == {"step-00000005.ckpt", "step-00000005.ckpt.sha256", "last.ckpt"}


def test_kill_at_any_file_operation_leaves_an_intact_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulate a kill at each call that changes the folder."""

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
        start = newest_intact(folder, silent)
        assert start is not None and start.step == 9
        assert start.path.read_bytes() in (archive("old"), archive("new"))
        assert (folder / "last.ckpt").resolve() == start.path
        if start.checksum_file.exists():
            digest = hashlib.sha256(start.path.read_bytes()).hexdigest()
            assert start.checksum_file.read_text() == f"{digest}  {start.path.name}\n"
    assert len(reached) >= 5, "the write has fewer file operations than expected"
