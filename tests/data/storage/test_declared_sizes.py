"""Sizes that files declare and do not have: refused before memory is reserved for them."""

import os
import resource
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.child_process import in_child_process
from hpc_dl.data.files.data_file import is_own_format, open_data
from hpc_dl.data.files.inspection import inspect, verify
from hpc_dl.data.storage import hdf5
from hpc_dl.data.storage.rows import open_rows
from hpc_dl.errors import DataError
from tests import experiments

_CHUNK = 1 << 16
_BOMB_BYTES = 64 << 20


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Memory for half of a bomb."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _BOMB_BYTES // 2, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def _deflate(num_bytes: int) -> bytes:
    compressor = zlib.compressobj(1)
    parts = [compressor.compress(bytes(1 << 20)) for _ in range(num_bytes >> 20)]
    return b"".join([*parts, compressor.flush()])


def _bzip2(num_bytes: int) -> bytes:
    import bz2

    compressor = bz2.BZ2Compressor()
    parts = [compressor.compress(bytes(1 << 20)) for _ in range(num_bytes >> 20)]
    return b"".join([*parts, compressor.flush()])


def _zstd_header(num_bytes: int) -> bytes:
    return b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", num_bytes) + bytes(30)


BOMBS: dict[str, tuple[Any, bytes]] = {
    "gzip": ({"compression": "gzip"}, _deflate(_BOMB_BYTES)),
    "bzip2": (hdf5plugin.BZip2(), _bzip2(_BOMB_BYTES // 4)),
    "zstd": (hdf5plugin.Zstd(), _zstd_header(1 << 40)),
    "lz4": (hdf5plugin.LZ4(), struct.pack(">QI", 1 << 40, 1 << 30) + bytes(30)),
    "bitshuffle": (hdf5plugin.Bitshuffle(cname="lz4"), struct.pack(">QI", 1 << 40, 1 << 13) + bytes(30)),
    "blosc": (hdf5plugin.Blosc(), struct.pack("<4BIII", 2, 1, 0, 1, 2**31 - 1, 2**20, 46) + bytes(30)),
    "blosc2": (
        hdf5plugin.Blosc2(),
        b"\x9e\xa8b2frame\x00" + bytes(19) + b"\xd3" + struct.pack(">Q", 1 << 40) + bytes(90),
    ),
}


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("codec", BOMBS)
def test_chunk_that_decodes_to_more_than_declared_is_refused(tmp_path: Path, codec: str) -> None:
    options, content = BOMBS[codec]
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (_CHUNK,), "u1", chunks=(_CHUNK,), **options)
        dataset.id.write_direct_chunk((0,), content)
    with closing(open_rows(path, "x")) as reader, pytest.raises(DataError, match="the chunk at \\(0,\\) is damaged"):
        reader.take(np.arange(10))
    with pytest.raises(DataError, match="is damaged"):
        verify(path)


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    "options", [{}, {"chunks": (10, 1000)}, {"chunks": (10, 1000), "compression": "gzip"}], ids=str
)
@pytest.mark.parametrize("shape", [(10**12, 1000), (1000, 10**12)], ids=str)
def test_shape_of_petabytes_is_refused(tmp_path: Path, options: dict[str, Any], shape: tuple[int, int]) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("inputs", shape, "f4", **options)
        file["targets"] = np.arange(5)
    assert inspect(path)["faults"]
    uses: list[Callable[[], object]] = [lambda: open_rows(path, "inputs"), lambda: verify(path)]
    for use in uses:
        with pytest.raises(DataError, match=r"declares far more values|its shape requires"):
            use()


def test_huge_attribute_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hdf5, "_MOST_ATTRIBUTE_BYTES", 100_000)
    path = experiments.classification_file(tmp_path)
    with h5py.File(path, "r+", libver="latest") as file:
        file.attrs["notes"] = np.zeros(200_000, np.uint8)
    assert inspect(path)["attributes"]["notes"] == "is too large to read (200000 bytes)"
    verify(path)


@pytest.mark.parametrize("name", ["format", "format_version", "sha256"])
@pytest.mark.parametrize("value", [None, "hpc_dm", 7])
def test_file_that_looks_like_our_own_is_verified_or_refused(tmp_path: Path, name: str, value: object) -> None:
    path = experiments.classification_file(tmp_path)
    with h5py.File(path, "r+") as file:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value
    with pytest.raises(DataError):
        verify(path)
    if name == "format":
        with h5py.File(path) as file, pytest.raises(DataError, match="has the attributes of a file of hpc_dl"):
            is_own_format(file)
        with pytest.raises(DataError, match="has the attributes of a file of hpc_dl"):
            open_data(path, DataConfig(file=str(path)))


def test_verify_says_where_damage_would_go_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    for libver, unchecked in (("earliest", True), ("v108", True), ("latest", False)):
        with h5py.File(path, "w", libver=(libver, "latest")) as file:
            file.create_dataset("a/x", data=np.arange(100.0), chunks=(10,), compression="gzip")
            file.create_dataset("y", (100,), "f4", chunks=(10,))[:20] = 1
        report = verify(path)
        assert report["unchecked_structure"] == unchecked
        assert report["never_written"] == {"/y": 8}
    assert not verify(experiments.classification_file(tmp_path))["unchecked_structure"]


def test_dataset_without_rows_is_verified(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros((0, 4))
        file["y"] = np.zeros((4, 0))
    assert verify(path)["num_datasets"] == 2


def test_pipe_or_device_is_no_data_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.h5")
    for path, kind in {tmp_path / "fifo.h5": "a pipe", Path("/dev/zero"): "a device"}.items():
        with pytest.raises(DataError, match=f"is {kind}, not a file"):
            inspect(path)


@pytest.mark.parametrize(
    ("act", "silence_s", "message"),
    [
        (lambda path, progress: os.abort(), 60.0, r"does not survive \(SIGABRT\)"),
        (lambda path, progress: os.kill(os.getpid(), 11), 60.0, r"does not survive \(SIGSEGV\)"),
        (lambda path, progress: os.read(os.pipe()[0], 1), 0.2, "no answer for 0.2 s"),
    ],
    ids=["abort", "crash", "endless"],
)
def test_library_that_does_not_return_is_one_line(tmp_path: Path, act: Any, silence_s: float, message: str) -> None:
    with pytest.raises(DataError, match=message):
        in_child_process(act, tmp_path / "x.h5", silence_s=silence_s)


def test_child_process_returns_and_raises(tmp_path: Path) -> None:
    assert in_child_process(lambda path, progress: [progress(), str(path)][1] * 100_000, Path("x")) == "x" * 100_000

    def refuse(path: Path, progress: object) -> None:
        raise DataError.at(path, "is bad", value=[1])

    with pytest.raises(DataError, match=r"x: is bad \(got \[1\]\)"):
        in_child_process(refuse, Path("x"))
    with pytest.raises(ZeroDivisionError):
        in_child_process(lambda path, progress: 1 // 0, Path("x"))


@pytest.mark.parametrize("chunk", [(1, 1, 40, 56, 50), (2, 3, 33, 17, 5), (13, 7)])
def test_padding_of_blosc2_is_no_damage(tmp_path: Path, chunk: tuple[int, ...]) -> None:
    """Blosc2 declares whole blocks, which may be more than the chunk."""
    values = np.random.default_rng(0).normal(size=(4, *chunk[1:])).astype("f4")
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(min(4, chunk[0]), *chunk[1:]), **hdf5plugin.Blosc2())
    with closing(open_rows(path, "x")) as reader:
        np.testing.assert_array_equal(reader.take(np.arange(4)), values)
