"""A pack that is killed at any moment goes on, and makes the very same file, which appears only
when it is whole."""

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

from .conftest import content, images, order, packed

LAYOUTS = [pytest.param({}, id="contiguous"), pytest.param({"codec": "gzip"}, id="chunked")]
NUM = 211


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Samples that are larger than several checkpoints; inputs and masks, so that both are chunked."""
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file["images"] = images(NUM)
        file["labels"] = images(NUM, 1, (8, 9))
    return path


def events(event: str, arguments: tuple[Any, ...], out: Path) -> bool:
    """Whether an event that Python reports is one in the life of the packed file: an opening, a
    rename, a removal."""
    return event in ("open", "os.rename", "os.remove", "os.rmdir") and out.name in str(arguments[0])


def count_or_die(source: Path, out: Path, options: dict[str, Any], last: int | None, told: Any = None) -> None:
    """Pack, and be killed at an event, or at one block that was stored; tell their number when
    there is no last one."""
    number = 0

    def step(*_: object) -> None:
        nonlocal number
        number += 1
        if number == last:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(lambda event, arguments: step() if events(event, arguments, out) else None)
    pack.pack(source, out, order(**options), step)
    if told is not None:
        told.value = number


def in_a_process(source: Path, out: Path, options: dict[str, Any], last: int | None, told: Any = None) -> int | None:
    process = multiprocessing.get_context("fork").Process(target=count_or_die, args=(source, out, options, last, told))
    process.start()
    process.join(60)
    return process.exitcode


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_at_any_moment(source: Path, layout: dict[str, Any], tmp_path: Path) -> None:
    options = {**layout, "splits": "train=.7,val=.2,test=.1"}
    whole = tmp_path / "whole.h5"
    packed(source, whole, **options)
    told = multiprocessing.get_context("fork").Value("i", 0)
    # The name tells nothing of the bytes, but the data set is named after it.
    (tmp_path / "again").mkdir()
    out = tmp_path / "again" / "whole.h5"
    assert in_a_process(source, out, options, None, told) == 0
    assert out.read_bytes() == whole.read_bytes()
    assert told.value > 60
    # Some seconds of them; a step of 1 takes them all.
    moments = range(1, told.value + 1, -(-told.value // 16))
    went_on = 0
    for moment in moments:
        out.unlink(missing_ok=True)
        assert in_a_process(source, out, options, moment) == -signal.SIGKILL
        if out.exists():  # killed after it had its name
            assert out.read_bytes() == whole.read_bytes()
            packed(source, out, **options, force=True)
        else:
            went_on += packed(source, out, **options)["resumed_at"] > 0
        assert out.read_bytes() == whole.read_bytes(), f"killed at event {moment}"
    assert went_on > len(moments) / 2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_killed_again_and_again(source: Path, layout: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    starts = 0
    # Each start does a few steps more than a start takes by itself.
    while not out.exists():
        in_a_process(source, out, layout, 40)
        starts += 1
        assert starts < 40
    assert starts > 2
    np.testing.assert_array_equal(content(out)["train/inputs"][:, 0], images(NUM))
    np.testing.assert_array_equal(content(out)["train/targets"], images(NUM, 1, (8, 9)))


def killed(source: Path, out: Path, **options: Any) -> None:
    assert in_a_process(source, out, options, 50) == -signal.SIGKILL
    assert staging_folder(out).is_dir() and not out.exists()


def test_a_changed_source_is_not_mixed_with_the_old_one(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    killed(source, out)
    with h5py.File(source, "r+") as file:
        file["images"][0] = 0
    with pytest.raises(DataError, match=r"\.out\.h5\.part: is an unfinished run.*source was changed.*by `--force`"):
        packed(source, out)
    assert packed(source, out, force=True)["resumed_at"] == 0
    assert not content(out)["train/inputs"][0].any()


def test_other_options_are_not_mixed(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    killed(source, out)
    with pytest.raises(DataError, match=r"unfinished run.*told something else \(sizes, dealt\)"):
        packed(source, out, splits="train=.5,val=.5")
    assert packed(source, out)["resumed_at"] > 0


def test_a_source_that_changes_while_it_is_read(source: Path, tmp_path: Path) -> None:
    def touch(stage: str, *_: object) -> None:
        if stage == "pack":
            os.utime(source, (1, 1))

    with pytest.raises(DataError, match=r"in\.h5: was changed while it was packed"):
        pack.pack(source, tmp_path / "out.h5", order(), touch)
    assert not (tmp_path / "out.h5").exists()


def test_two_at_once(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"

    def pack_within(stage: str, *_: object) -> None:
        if stage == "pack":
            pack.pack(source, out, order(), lambda *_: None)

    with pytest.raises(DataError, match=r"out\.h5: is being packed by another process"):
        pack.pack(source, out, order(), pack_within)


def test_verify_finds_what_the_disk_did_not_keep(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish = ContiguousWriter.finish

    def flip(writer: ContiguousWriter) -> Path:
        whole = finish(writer)
        content = bytearray(whole.read_bytes())
        content[writer._offsets["train", "inputs"] + 100] ^= 1
        whole.write_bytes(content)
        return whole

    monkeypatch.setattr(ContiguousWriter, "finish", flip)
    with pytest.raises(DataError, match=r":/train/inputs: differs from the source between samples 0 and"):
        packed(source, tmp_path / "out.h5")
    assert not (tmp_path / "out.h5").exists()


def test_a_full_disk_leaves_what_was_done(source: Path, tmp_path: Path) -> None:
    import resource

    options: dict[str, Any] = {"codec": "none", "layout_name": "chunked"}
    killed(source, tmp_path / "out.h5", **options)

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            pack.pack(source, tmp_path / "out.h5", order(**options), lambda *_: None)
        except DataError as error:
            os._exit(7 if "cannot be written" in str(error) and "goes on where it was" in str(error) else 8)
        os._exit(9)

    process = multiprocessing.get_context("fork").Process(target=limited)
    process.start()
    process.join(60)
    assert process.exitcode == 7
    assert packed(source, tmp_path / "out.h5", **options)["resumed_at"] > 0


def test_the_folder_of_a_run_belongs_to_one_process(tmp_path: Path) -> None:
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
