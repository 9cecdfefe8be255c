"""Files that are damaged, truncated, or changed while they are read."""

import os
import resource
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.files.inspection import inspect, verify
from hpc_dl.data.storage import file_version
from hpc_dl.data.storage.layout import locate
from hpc_dl.data.storage.rows import open_rows
from hpc_dl.errors import DataError

from .conftest import FILTERS, SHAPE, Store, damage, values

ALL = np.arange(SHAPE[0])
DETECTS_EVERY_FLIPPED_BIT = (
    "gzip",
    "shuffle gzip",
    "fletcher32",
    "shuffle gzip fletcher32",
    "shuffle lzf fletcher32",
    "bzip2",
)


@pytest.mark.parametrize("name", [name for name in FILTERS if name != "none"])
def test_damaged_chunk_is_reported(store: Store, name: str) -> None:
    """Checksums detect all damage; other codecs may return wrong values, but never crash."""
    expected = values("<i4")
    path = store(expected, chunks=(4, 5, 6), **FILTERS[name])
    with h5py.File(path) as file:
        info = file["x"].id.get_chunk_info(2)
    good = path.read_bytes()[info.byte_offset : info.byte_offset + info.size]
    random = np.random.default_rng(5)
    for _ in range(40):
        bad = bytearray(good)
        start = int(random.integers(min(len(good), int(random.choice([20, len(good)])))))
        bad[start] ^= 1 << int(random.integers(8))
        if random.integers(2):
            end = start + int(random.integers(1, 60))
            bad[start + 1 : end] = random.bytes(len(bad[start + 1 : end]))
        damage(path, info.byte_offset, bytes(bad))
        with closing(open_rows(path, "x", threads=2)) as reader:
            try:
                taken = reader.take(ALL)
            except DataError as error:
                assert f"{path}:/x: cannot be read: the chunk at (8, 0, 0) is damaged: " in str(error)
                assert "data verify" in str(error)
            else:
                assert taken.shape == expected.shape
                np.testing.assert_array_equal(np.delete(taken, range(8, 12), 0), np.delete(expected, range(8, 12), 0))
                # The flipped bit may be unused, for example in the header of bzip2.
                assert name not in DETECTS_EVERY_FLIPPED_BIT or np.array_equal(taken, expected)
    damage(path, info.byte_offset, bytes(len(good)))
    with closing(open_rows(path, "x", threads=2)) as reader:
        # Without compression zeros are valid values, and zero is their Fletcher-32 checksum.
        if name not in ("bitshuffle", "fletcher32"):
            with pytest.raises(DataError, match=r"the chunk at \(8, 0, 0\)"):
                reader.take(ALL)
        np.testing.assert_array_equal(reader.take(ALL[:8]), expected[:8])


def test_verify_names_every_damaged_chunk(store: Store) -> None:
    expected = values("<i4", (40, 6))
    path = store(expected, chunks=(4, 6), fletcher32=True)
    with h5py.File(path, "r+") as file:
        file.create_dataset("szip", data=expected, chunks=(4, 3), compression="szip", fletcher32=True)
        offsets = [file["x"].id.get_chunk_info(number).byte_offset for number in (1, 7)]
        offsets.append(file["szip"].id.get_chunk_info(5).byte_offset)
    for offset in offsets:
        damage(path, offset, b"\xff\xfe\xfd")
    with pytest.raises(DataError) as caught:
        verify(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    for line, place in zip(sorted(lines), ("/szip: cannot be read: the chunk at (8, 3)", "/x: ", "/x: "), strict=True):
        assert f"{path}:{place}" in line
    assert "(4, 0)" in str(caught.value) and "(28, 0)" in str(caught.value)


def test_verify_lists_some_of_many_damaged_chunks(store: Store) -> None:
    path = store(values("<i4", (400, 6)), chunks=(4, 6), compression="gzip")
    with h5py.File(path) as file:
        offsets = [file["x"].id.get_chunk_info(number).byte_offset for number in range(100)]
    for offset in offsets[:60]:
        damage(path, offset, b"\0\0\0\0")
    with pytest.raises(DataError) as caught:
        verify(path)
    assert len(caught.value.faults) == 9
    assert "52 more parts are damaged" in str(caught.value)


def test_verify_lists_datasets_without_checksums(store: Store) -> None:
    path = store(values("<i4"))
    with h5py.File(path, "r+") as file:
        file.create_dataset("gzip", data=values("<i4"), compression="gzip")
        file.create_dataset("fletcher", data=values("<i4"), fletcher32=True)
        file.create_dataset("lzf", data=values("<i4"), compression="lzf")
        file["texts"] = ["a"]
    assert verify(path)["unprotected"] == ["/lzf", "/texts", "/x"]


def test_truncated_file_is_reported(store: Store) -> None:
    """HDF5 itself detects a file that is shorter than its header says."""
    path = store(values("<i4"), chunks=(4, 5, 6), compression="gzip")
    os.truncate(path, path.stat().st_size - 10)
    with pytest.raises(DataError, match="is truncated"):
        open_rows(path, "x")


@pytest.mark.parametrize("options", [{}, {"chunks": (4, 5, 6)}, {"chunks": (4, 2, 6), "compression": "gzip"}], ids=str)
def test_values_beyond_the_end_of_the_file_are_reported(store: Store, options: dict[str, object]) -> None:
    path = store(values("<i4"), **options)
    with h5py.File(path) as file:
        dataset = file["x"]
        start, end = locate(dataset).extent
        # The file is truncated while it is open, after HDF5 has checked its length.
        os.truncate(path, end - 1)
        with pytest.raises(
            DataError, match=r"x.h5:/x: is truncated: (its values|the chunk at \(\d+, \d+, 0\)) would end"
        ):
            locate(dataset)
    assert start > 0


def test_damaged_chunk_index_is_reported(store: Store) -> None:
    path = store(values("<i4"), chunks=(4, 5, 6), compression="gzip")
    content = path.read_bytes()
    damage(path, content.rindex(b"TREE"), b"EERT")
    with pytest.raises(DataError, match=r"x.h5:/x: has a damaged chunk index: .*signature"):
        open_rows(path, "x")


@pytest.mark.parametrize("options", [{}, {"chunks": (4, 5, 6)}, {"chunks": (4, 2, 6), "compression": "gzip"}], ids=str)
@pytest.mark.parametrize("change", ["cut", "written", "touched"])
def test_file_changed_while_reading_is_reported(
    store: Store, monkeypatch: pytest.MonkeyPatch, options: dict[str, object], change: str
) -> None:
    monkeypatch.setattr(file_version, "_SECONDS_BETWEEN_CHECKS", 0.0)
    path = store(values("<i4"), **options)
    with closing(open_rows(path, "x")) as reader:
        reader.take(ALL)
        if change == "cut":
            os.truncate(path, 0)
        elif change == "written":
            damage(path, 3000, b"12345")
        else:
            os.utime(path)
        with pytest.raises(DataError, match=r"x.h5:/x: was changed while it was being read.*Start the job again"):
            reader.take(ALL)


def test_replaced_file_is_still_read(store: Store, tmp_path: Path) -> None:
    path = store(values("<i4"))
    with closing(open_rows(path, "x")) as reader:
        os.replace(store(values("<i4") + 1, name="new.h5"), path)
        np.testing.assert_array_equal(reader.take(ALL), values("<i4"))


def test_file_is_checked_at_most_once_a_second(store: Store) -> None:
    path = store(values("<i4"))
    with closing(open_rows(path, "x")) as reader:
        os.utime(path)
        np.testing.assert_array_equal(reader.take(ALL), values("<i4"))


def test_unknown_filter_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((4,))
        creation.set_filter(300, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space = h5py.h5s.create_simple((8,))
        h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, space, creation)
    with pytest.raises(
        DataError, match=r"x.h5:/x: is compressed by a filter that is not installed: 300.*HDF5_PLUGIN_PATH"
    ):
        open_rows(path, "x")
    assert "not installed: 300" in inspect(path)["datasets"][0]["reading"]
    with pytest.raises(DataError, match="not installed: 300"):
        verify(path)


def test_file_larger_than_the_address_space_is_read(tmp_path: Path) -> None:
    """A sparse file of 128 GiB under a limit of 16 GiB (``ulimit -v``) is read without a map."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("packed", data=values("u1", (20, 6)), chunks=(4, 6), compression="gzip")
        large = file.create_dataset("x", (1 << 28, 64), "<i8")
        large[5], large[-1] = 55, 99
        file.create_dataset("behind", data=[1])
        offset = file["packed"].id.get_chunk_info(0).byte_offset
    assert offset < path.stat().st_size > 128 << 30 > path.stat().st_blocks * 512
    assert resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY
    script = Path(__file__).parent.parent / "scripts" / "read_beyond_address_space.py"
    command = [sys.executable, str(script), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    packed = values("u1", (20, 6))[[9, 0], 0].tolist()
    assert done.stdout.splitlines() == ["read row by row [55, 99, 55, 0]", str(packed)], done.stderr
