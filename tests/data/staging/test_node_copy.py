"""One copy per node: shared, verified, and deleted by its last reader, also after a kill."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.staging import copying
from hpc_dl.data.staging import node_copy as module
from hpc_dl.data.staging.node_copy import NodeCopy, delete_unused, node_copy
from hpc_dl.data.staging.scratch import NotStaged, check_space, make_private, scratch_folder
from tests import experiments

WAIT_S = 30.0

READER = """
import sys, time
from pathlib import Path
from hpc_dl.data.staging import copying
from hpc_dl.data.staging.node_copy import node_copy
if sys.argv[3] == "slow":
    copying._BLOCK_BYTES = 1024
def advanced(done, total):
    if sys.argv[3] == "slow" and done > 2000:
        print("copying", flush=True)
        time.sleep(60)
copy = node_copy(Path(sys.argv[1]), Path(sys.argv[2]), advanced)
print("new" if copy.is_new else "shared", flush=True)
sys.stdin.readline()
copy.release()
print("released", flush=True)
"""


def ignore(done: int, total: int) -> None:
    """Nothing is shown."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return experiments.classification_file(tmp_path)


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "scratch"


class Reader:
    """Another process that gets a copy, and keeps it until it is asked to release it."""

    def __init__(self, file: Path, scratch: Path, speed: str = "fast") -> None:
        command = [sys.executable, "-c", READER, str(file), str(scratch), speed]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WAIT_S)


@pytest.fixture
def readers() -> Iterator[list[Reader]]:
    started: list[Reader] = []
    yield started
    for reader in started:
        reader.kill()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_copy_is_equal_shared_and_deleted_by_its_last_reader(file: Path, scratch: Path) -> None:
    first = node_copy(file, scratch, ignore)
    second = node_copy(file, scratch, ignore)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.path == second.path and first.path.read_bytes() == file.read_bytes()
    assert first.times.num_bytes == second.times.num_bytes == file.stat().st_size
    first.release()
    assert second.path.exists()
    second.release()
    assert names(scratch) == []


def test_changed_original_gets_a_copy_of_its_own(file: Path, scratch: Path) -> None:
    before = node_copy(file, scratch, ignore)
    os.utime(file, ns=(0, 0))
    after = node_copy(file, scratch, ignore)
    assert after.is_new and after.path != before.path
    for copy in (before, after):
        copy.release()


def test_copy_of_a_killed_last_reader_is_deleted_by_the_next_attempt(
    file: Path, scratch: Path, readers: list[Reader]
) -> None:
    readers.append(Reader(file, scratch))
    assert readers[0].line() == "new"
    delete_unused(scratch)  # it is being read
    assert len(names(scratch)) == 2
    readers[0].kill()
    delete_unused(scratch)
    assert names(scratch) == []


def test_half_of_a_copy_is_replaced_where_its_maker_was_killed(
    file: Path, scratch: Path, readers: list[Reader]
) -> None:
    readers.append(Reader(file, scratch, "slow"))
    assert readers[0].line() == "copying"
    waiting: list[NodeCopy] = []
    thread = threading.Thread(target=lambda: waiting.append(node_copy(file, scratch, ignore)))
    thread.start()
    (half,) = scratch.glob("*.part/data/classes.h5")
    assert 0 < half.stat().st_size < file.stat().st_size
    readers[0].kill()
    thread.join(WAIT_S)
    assert waiting[0].is_new and waiting[0].path.read_bytes() == file.read_bytes()
    waiting[0].release()
    assert names(scratch) == []


def test_two_jobs_at_once_make_one_copy(file: Path, scratch: Path, readers: list[Reader]) -> None:
    readers += [Reader(file, scratch), Reader(file, scratch)]
    assert sorted(reader.line() for reader in readers) == ["new", "shared"]
    assert len(list(scratch.glob("*/data/classes.h5"))) == 1
    for reader in readers:
        reader.process.communicate("\n", timeout=WAIT_S)
    assert names(scratch) == []


def test_partly_deleted_copy_is_made_again(file: Path, scratch: Path, readers: list[Reader]) -> None:
    readers.append(Reader(file, scratch))
    assert readers[0].line() == "new"
    (copied,) = scratch.glob("*/data/classes.h5")
    copied.unlink()
    with pytest.raises(NotStaged, match="other processes still read it"):
        node_copy(file, scratch, ignore)
    readers[0].kill()
    copy = node_copy(file, scratch, ignore)
    assert copy.is_new and copy.path.read_bytes() == file.read_bytes()
    copy.release()


def test_linked_files_are_copied_too(tmp_path: Path, scratch: Path) -> None:
    (tmp_path / "parts").mkdir()
    with h5py.File(tmp_path / "parts" / "train.h5", "w") as part:
        part["x"], part["y"] = np.zeros((4, 3), np.float32), np.arange(4.0, dtype=np.float32)
    with h5py.File(tmp_path / "main.h5", "w") as main:
        for name, target in (("inputs", "/x"), ("targets", "/y")):
            main[f"train/{name}"] = h5py.ExternalLink("parts/train.h5", target)
    original = DataConfig(file=str(tmp_path / "main.h5"))
    copy = node_copy(tmp_path / "main.h5", scratch, ignore)
    assert [path.name for path in copy.files] == ["main.h5", "train.h5"]
    staged = open_spec(original.model_copy(update={"file": str(copy.path)}))
    expected = open_spec(original)
    assert (staged.checksum, staged.sizes, staged.name) == (expected.checksum, expected.sizes, expected.name)
    copy.release()
    with h5py.File(tmp_path / "main.h5", "a") as main:
        main["val"] = h5py.ExternalLink(str(tmp_path / "parts" / "train.h5"), "/")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = h5py.ExternalLink(str(tmp_path / "parts" / "train.h5"), "/x")
    with pytest.raises(NotStaged, match="does not lead to its copy"):
        node_copy(tmp_path / "other.h5", scratch, ignore)
    assert names(scratch) == []


def test_copy_that_differs_is_not_used(monkeypatch: pytest.MonkeyPatch, file: Path, scratch: Path) -> None:
    def damage(done: int, total: int) -> None:
        (copied,) = scratch.glob("*.part/data/classes.h5")
        if copied.stat().st_mode & 0o200:
            with copied.open("r+b") as opened:
                opened.write(b"\0")

    with pytest.raises(NotStaged, match="differs from the original"):
        node_copy(file, scratch, damage)
    assert names(scratch) == []


def test_original_that_changes_meanwhile_is_not_copied(file: Path, scratch: Path) -> None:
    with pytest.raises(NotStaged, match="was changed while it was being copied"):
        node_copy(file, scratch, lambda done, total: os.utime(file, ns=(1, 1)))
    assert names(scratch) == []


def test_too_little_space_is_noticed_before_the_copy(tmp_path: Path) -> None:
    with pytest.raises(NotStaged, match=r"has .* free, too little for"):
        check_space(tmp_path, 1 << 60)


def test_copy_that_another_process_could_not_make_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch, file: Path, scratch: Path
) -> None:
    make_private(scratch)
    (lock,) = [scratch / f"{copying.copy_name(copying.source_files(file))}.lock"]
    held = module._Lock(lock)
    assert held.try_exclusive()
    held.mark(1)
    errors: list[NotStaged] = []

    def attempt() -> None:
        try:
            node_copy(file, scratch, ignore)
        except NotStaged as error:
            errors.append(error)

    polls: list[float] = []
    monkeypatch.setattr(time, "sleep", lambda seconds, sleep=time.sleep: (polls.append(seconds), sleep(seconds)))
    thread = threading.Thread(target=attempt)
    thread.start()
    deadline = time.monotonic() + WAIT_S
    while not polls and time.monotonic() < deadline:
        threading.Event().wait(0.01)
    held.delete()
    held.release()
    thread.join(WAIT_S)
    assert "another process could not make it" in str(errors[0])
    assert names(scratch) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system, which needs root")
def test_full_disk(monkeypatch: pytest.MonkeyPatch, file: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("this machine does not allow mounts")
    try:
        with pytest.raises(NotStaged, match="free, too little for"):
            node_copy(file, small / "own", ignore)
        monkeypatch.setattr(module, "check_space", lambda folder, num_bytes: None)  # another job fills it meanwhile
        with pytest.raises(NotStaged, match=os.strerror(errno.ENOSPC)):
            node_copy(file, small / "own", ignore)
        assert names(small / "own") == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    for folder in (tmp_path / "link", tmp_path / "open"):
        with pytest.raises(NotStaged, match="only you can change"):
            make_private(folder)
    with pytest.raises(NotStaged, match="cannot be created"):
        make_private(tmp_path / "missing" / "own")


def test_nothing_is_deleted_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "project" / "uv").mkdir(parents=True)
    (tmp_path / "project" / "uv.lock").touch()
    (tmp_path / "scratch").symlink_to(tmp_path / "project")
    delete_unused(tmp_path / "scratch")
    assert (tmp_path / "project" / "uv").is_dir() and (tmp_path / "project" / "uv.lock").exists()


def test_scratch_folder_is_the_first_that_exists(tmp_path: Path) -> None:
    own = f"hpc_dl-{os.geteuid()}"
    assert scratch_folder("ram", {}) == Path("/dev/shm") / own
    assert scratch_folder("node", {}) == Path("/tmp") / own
    environment = {"HPC_DL_SCRATCH": str(tmp_path / "missing"), "SLURM_TMPDIR": "", "TMPDIR": str(tmp_path)}
    assert scratch_folder("node", environment) == tmp_path / own
    assert scratch_folder("node", environment | {"SLURM_TMPDIR": "/"}) == Path("/") / own
