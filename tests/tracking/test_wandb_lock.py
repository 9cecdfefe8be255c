"""The lock against two uploads of a run at the same time."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.tracking.wandb_record import upload_lock


@pytest.fixture(params=["flock", "without flock"], autouse=True)
def file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has locks, and one without, such as Lustre without its option."""
    if request.param == "without flock":

        def refuse(descriptor: int, operation: int) -> None:
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", refuse)


def test_only_one_has_it(tmp_path: Path) -> None:
    with upload_lock(tmp_path, 0) as first:
        assert first
        with upload_lock(tmp_path, 0.3) as second:
            assert not second
        with upload_lock(tmp_path, 0) as third:  # the second one has not released what it had not
            assert not third
    with upload_lock(tmp_path, 0) as again:
        assert again


_HOLD = """
import fcntl, sys
from pathlib import Path
from hpc_dl.tracking.wandb_record import upload_lock
if sys.argv[2] == "without":
    def refuse(*_):
        raise OSError(38, "Function not implemented")
    fcntl.flock = refuse
with upload_lock(Path(sys.argv[1]), 0):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_lock_of_a_killed_process_is_free(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    kind = request.node.callspec.params["file_system"].split()[0]
    command = [sys.executable, "-c", _HOLD, str(tmp_path), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "locked\n"
        with upload_lock(tmp_path, 0) as acquired:
            assert not acquired
        holder.kill()
        holder.wait()
    with upload_lock(tmp_path, 0) as acquired:
        assert acquired


@pytest.mark.parametrize("file_system", ["without flock"], indirect=True)
def test_lock_of_another_machine_expires(tmp_path: Path) -> None:
    path = tmp_path / "wandb.exclusive"
    path.write_text("othernode 1")
    with upload_lock(tmp_path, 0) as acquired:
        assert not acquired
    os.utime(path, (1e9, 1e9))
    with upload_lock(tmp_path, 0) as acquired:
        assert acquired
