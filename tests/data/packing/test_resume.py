"""Packing that is killed at any moment resumes, and writes the same bytes.

The packed file appears only when it is complete.
"""

import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hpc_dl.data.packing import pack
from hpc_dl.data.packing.staging import staged, staging_folder
from hpc_dl.data.packing.writers import ContiguousWriter
from hpc_dl.errors import DataError

from .conftest import content, images, packed, request

pytestmark = pytest.mark.slow

LAYOUTS = [pytest.param({}, id="contiguous"), pytest.param({"codec": "gzip"}, id="chunked")]
NUM = 211


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source larger than several checkpoints, with masks, so that the targets are chunked too."""
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["images"] = images(NUM)
        file["labels"] = images(NUM, 1, (8, 9))
    return path


def concerns(event: str, arguments: tuple[Any, ...], out: Path) -> bool:
    """Whether an audit event of Python opens, renames or removes the packed file or its staging."""
    return event in ("open", "os.rename", "os.remove", "os.rmdir") and out.name in str(arguments[0])


def pack_until(source: Path, out: Path, options: dict[str, Any], last: int | None, total: Any = None) -> None:
    """Pack, and kill this process at the given event; an event is a file operation or progress.

    Args:
        source: the source.
        out: the packed file.
        options: of the request.
        last: number of the event at which to kill the process; None to count all events.
        total: shared integer for the number of all events.
    """
    number = 0

    def count(*_: object) -> None:
        nonlocal number
        number += 1
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(lambda event, arguments: count() if concerns(event, arguments, out) else None)
    pack.pack(source, out, request(**options), count)
    if total is not None:
        total.value = number


def run_pack_until(source: Path, out: Path, options: dict[str, Any], last: int | None, total: Any = None) -> int | None:
    """Call ``pack_until`` in another process; return its exit status."""
    process = multiprocessing.get_context("fork").Process(target=pack_until, args=(source, out, options, last, total))
    process.start()
    process.join(60)
    return process.exitcode


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_any_moment(source: Path, layout: dict[str, Any], tmp_path: Path) -> None:
    options = {**layout, "splits": "train=.7,val=.2,test=.1"}
    uninterrupted = tmp_path / "out.h5"
    packed(source, uninterrupted, **options)
    total = multiprocessing.get_context("fork").Value("i", 0)
    # The file needs the same name in another folder, because the data set is named after it.
    (tmp_path / "again").mkdir()
    out = tmp_path / "again" / "out.h5"
    assert run_pack_until(source, out, options, None, total) == 0
    assert out.read_bytes() == uninterrupted.read_bytes()
    assert total.value > 60
    # A sample of the moments, to save time; a step of 1 would test all.
    moments = range(1, total.value + 1, -(-total.value // 16))
    num_resumed = 0
    for moment in moments:
        out.unlink(missing_ok=True)
        assert run_pack_until(source, out, options, moment) == -signal.SIGKILL
        if out.exists():  # killed after the file was published
            assert out.read_bytes() == uninterrupted.read_bytes()
            packed(source, out, **options, force=True)
        else:
            num_resumed += packed(source, out, **options)["resumed_at"] > 0
        assert out.read_bytes() == uninterrupted.read_bytes(), f"killed at event {moment}"
    assert num_resumed > len(moments) / 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_repeatedly(source: Path, layout: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    starts = 0
    # 40 events are a few more than resuming itself takes, so each run makes some progress.
    while not out.exists():
        run_pack_until(source, out, layout, 40)
        starts += 1
        assert starts < 40
    assert starts > 2
    np.testing.assert_array_equal(content(out)["train/inputs"][:, 0], images(NUM))
    np.testing.assert_array_equal(content(out)["train/targets"], images(NUM, 1, (8, 9)))


def pack_and_kill(source: Path, out: Path, **options: Any) -> None:
    assert run_pack_until(source, out, options, 50) == -signal.SIGKILL
    assert staging_folder(out).is_dir() and not out.exists()


def test_changed_source_cannot_resume(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    pack_and_kill(source, out)
    with h5py.File(source, "r+") as file:
        file["images"][0] = 0
    with pytest.raises(DataError, match=r"\.out\.h5\.part: is an unfinished run.*source has changed.*with `--force`"):
        packed(source, out)
    assert packed(source, out, force=True)["resumed_at"] == 0
    assert not content(out)["train/inputs"][0].any()


def test_other_options_cannot_resume(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    pack_and_kill(source, out)
    with pytest.raises(DataError, match=r"unfinished run.*other options \(sizes, splits\)"):
        packed(source, out, splits="train=.5,val=.5")
    assert packed(source, out)["resumed_at"] > 0


def test_source_changes_during_packing(source: Path, tmp_path: Path) -> None:
    def touch(stage: str, *_: object) -> None:
        if stage == "pack":
            os.utime(source, (1, 1))

    with pytest.raises(DataError, match=r"in\.h5: changed while it was being packed"):
        pack.pack(source, tmp_path / "out.h5", request(), touch)
    assert not (tmp_path / "out.h5").exists()


def test_two_processes_pack_the_same_file(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"

    def pack_within(stage: str, *_: object) -> None:
        if stage == "pack":
            pack.pack(source, out, request(), lambda *_: None)

    with pytest.raises(DataError, match=r"out\.h5: is being packed by another process"):
        pack.pack(source, out, request(), pack_within)


def test_verify_finds_a_flipped_bit(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = ContiguousWriter.finish

    def flip(writer: ContiguousWriter) -> Path:
        path = finish(writer)
        content = bytearray(path.read_bytes())
        content[writer._offsets["train", "inputs"] + 100] ^= 1
        path.write_bytes(content)
        return path

    monkeypatch.setattr(ContiguousWriter, "finish", flip)
    with pytest.raises(DataError, match=r":/train/inputs: differs from the source between samples 0 and"):
        packed(source, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_full_disk_keeps_progress(source: Path, tmp_path: Path) -> None:
    import resource

    options: dict[str, Any] = {"codec": "none", "layout_name": "chunked"}
    pack_and_kill(source, tmp_path / "out.h5", **options)

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            pack.pack(source, tmp_path / "out.h5", request(**options), lambda *_: None)
        except DataError as error:
            os._exit(7 if "cannot be written" in str(error) and "to resume" in str(error) else 8)
        os._exit(9)

    process = multiprocessing.get_context("fork").Process(target=limited)
    process.start()
    process.join(60)
    assert process.exitcode == 7
    assert packed(source, tmp_path / "out.h5", **options)["resumed_at"] > 0


def test_staging_folder_is_locked(tmp_path: Path) -> None:
    class Plan:
        def as_json(self) -> dict[str, str]:
            return {}

    plan: Any = Plan()
    with (
        staged(tmp_path / "x.h5", plan, False),
        pytest.raises(DataError, match="another process"),
        staged(tmp_path / "x.h5", plan, False),
    ):
        pass
