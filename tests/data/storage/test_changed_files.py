"""Data files that are changed, shortened, replaced or removed while they are in use."""

import faulthandler
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.storage import file_version
from hpc_dl.data.storage.file_version import WatchedFiles
from hpc_dl.data.storage.rows import open_rows, take_span
from hpc_dl.errors import DataError
from tests.data.storage.conftest import FILTERS

NUM_ROWS, ROW = 4000, 128
ALL = np.arange(NUM_ROWS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of 2 MiB, which is more than any cache between the system and us."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["x"] = np.ones((NUM_ROWS, ROW), "f4")
    return tmp_path / "x.h5"


def overwrite_and_restore_time(path: Path) -> None:
    """What ``rsync --inplace --times`` leaves when another file of the same age is copied over."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(5000)
        file.write(b"\x7f" * 4096)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    shutil.copy2(path, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


def remove_and_create(path: Path) -> None:
    """The system may give the new file the inode number of the old one."""
    content, before = path.read_bytes(), path.stat()
    path.unlink()
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "truncated": (lambda path: os.truncate(path, 5000), "was changed"),
    "emptied": (lambda path: os.truncate(path, 0), "was changed"),
    "grown": (lambda path: os.truncate(path, 50_000_000), "was changed"),
    "touched": (lambda path: os.utime(path), "was changed"),
    "overwritten": (overwrite_and_restore_time, "was changed"),
    "replaced": (replace, "was replaced"),
    "created again": (remove_and_create, "was replaced"),
    "removed": (Path.unlink, "was removed"),
    "moved": (lambda path: path.rename(path.with_suffix(".old")), "was removed"),
    "replaced by a folder": (lambda path: (path.unlink(), path.mkdir()), "was replaced"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_noticed(path: Path, change: str) -> None:
    with closing(WatchedFiles([path])) as files:
        files.check(at_once=True)
        act, problem = CHANGES[change]
        act(path)
        with pytest.raises(DataError, match=f"{path}: {problem}") as caught:
            files.check(at_once=True)
    assert "\n" not in str(caught.value)


def test_change_of_a_link_is_noticed(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.h5"
    link.symlink_to(path)
    shutil.copy2(path, tmp_path / "other.h5")
    with closing(WatchedFiles([link])) as files:
        files.check(at_once=True)
        link.unlink()
        link.symlink_to(tmp_path / "other.h5")
        with pytest.raises(DataError, match="was replaced"):
            files.check(at_once=True)


def test_attributes_may_change_but_hide_no_later_change(path: Path) -> None:
    with closing(WatchedFiles([path])) as files:
        path.chmod(0o640)
        files.check(at_once=True)
        os.link(path, path.with_suffix(".backup"))
        files.check(at_once=True)
        overwrite_and_restore_time(path)
        with pytest.raises(DataError, match="was changed"):
            files.check(at_once=True)


def test_reading_alone_changes_nothing(path: Path) -> None:
    with closing(WatchedFiles([path])) as files:
        path.read_bytes()
        files.check(at_once=True)


def test_checks_in_between_ask_no_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    monkeypatch.setattr("os.stat", calls.append)
    version = file_version.FileVersion("x", lambda: os.fstat(0), file_version.Stamp.of(os.fstat(0)))
    for _ in range(1000):
        version.check()
    assert not calls


@pytest.mark.parametrize("options", [{}, {"shuffle": True}, *FILTERS.values()], ids=str)
@pytest.mark.parametrize("num_rows", [10, NUM_ROWS])
def test_file_that_shrinks_between_two_checks_ends_in_one_line(
    tmp_path: Path, options: dict[str, object], num_rows: int
) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        chunks = (40, ROW) if options else None
        data = np.arange(NUM_ROWS * ROW, dtype="f4").reshape(NUM_ROWS, ROW)
        file.create_dataset("x", data=data, chunks=chunks, **options)
    with closing(open_rows(path, "x", threads=2)) as reader:
        reader.take(np.arange(3))  # checks the file: the next check is due in a second
        os.truncate(path, 4096)
        with pytest.raises(DataError, match=r"x\.h5:/x: (was changed|is truncated)"):
            reader.take(ALL[-num_rows:])


def test_all_ways_to_read_a_map_survive(path: Path) -> None:
    for read in (
        lambda reader: reader.take(ALL[-5:]),
        lambda reader: take_span(reader, 100, NUM_ROWS),
        lambda reader: reader.take_crops(ALL[-5:], np.zeros((5, 1), int), (3,)),
        lambda reader: (reader.preload(), reader.take(ALL[-5:])),
    ):
        copy = path.with_suffix(".copy")
        shutil.copy(path, copy)
        with closing(open_rows(copy, "x")) as reader:
            reader.take(np.arange(3))
            os.truncate(copy, 4096)
            with pytest.raises(DataError, match="was changed"):
                read(reader)


def test_map_survives_after_faulthandler_took_the_signal(path: Path) -> None:
    with closing(open_rows(path, "x")) as reader:
        reader.take(np.arange(3))
    faulthandler.disable()
    faulthandler.enable(file=sys.__stderr__)
    copy = path.with_suffix(".copy")
    shutil.copy(path, copy)
    with closing(open_rows(copy, "x")) as reader:
        reader.take(np.arange(3))
        os.truncate(copy, 4096)
        with pytest.raises(DataError):
            reader.take(ALL[-5:])
