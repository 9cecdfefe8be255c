"""Small files in every layout of HDF5."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
from numpy.typing import NDArray

SHAPE = (23, 5, 6)
FILTERS: dict[str, Mapping[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle gzip": {"compression": "gzip", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "shuffle gzip fletcher32": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf"},
    "shuffle lzf fletcher32": {"compression": "lzf", "shuffle": True, "fletcher32": True},
    "zstd": hdf5plugin.Zstd(clevel=3),
    "shuffle zstd": {**hdf5plugin.Zstd(), "shuffle": True},
    "blosc": hdf5plugin.Blosc(cname="lz4"),
    "blosc zlib": hdf5plugin.Blosc(cname="zlib", shuffle=hdf5plugin.Blosc.BITSHUFFLE),
    "blosc2": hdf5plugin.Blosc2(cname="zstd"),
    "lz4": hdf5plugin.LZ4(),
    "lz4 small blocks": hdf5plugin.LZ4(nbytes=64),
    "bitshuffle": hdf5plugin.Bitshuffle(cname="none"),
    "bitshuffle lz4": hdf5plugin.Bitshuffle(cname="lz4"),
    "bitshuffle zstd": hdf5plugin.Bitshuffle(nelems=16, cname="zstd"),
    "bzip2": hdf5plugin.BZip2(),
}
BY_HDF5: dict[str, Mapping[str, Any]] = {
    "szip": {"compression": "szip"},
    "scale-offset": {"scaleoffset": 0},
    "zfp": hdf5plugin.Zfp(reversible=True),
}

Store = Callable[..., Path]


def values(dtype: str, shape: tuple[int, ...] = SHAPE) -> NDArray[Any]:
    """Compressible numbers; every row is different."""
    rows = np.arange(np.prod(shape)).reshape(shape)
    noise = np.random.default_rng(0).integers(0, 4, shape)
    return ((rows // 3 + noise) % (2 if dtype == "?" else 100)).astype(dtype)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Writes a file with one dataset ``x``."""

    def write(
        data: NDArray[Any], name: str = "x.h5", libver: str = "earliest", userblock: int = 0, **options: Any
    ) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w", libver=libver, userblock_size=userblock) as file:
            file.create_dataset("x", data=data, **options)
        return path

    return write


def damage(path: Path, offset: int, content: bytes) -> None:
    """Overwrite some bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
