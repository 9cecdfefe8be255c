"""The data sets that are read, and how they are stored in HDF5.

They compress about as well as what they stand for: A like photographs of clothes on black, B like
small photographs, C like a scan with whole numbers of 12 bits. Each sample is a smooth random field
with noise on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples, write

CLASSES = 100
WINDOW_BYTES = 16 << 20  # amount that readers of chunks shuffle at a time


@dataclass(frozen=True)
class DataSet:
    """Samples of one shape.

    Attributes:
        name: a letter.
        samples: number of samples.
        shape: of one sample.
        dtype: NumPy's name of the type.
        batch: samples in a batch.
        chunk: samples in a chunk.
        few: number of samples for the slow readers: writing takes minutes, and they read only for
            seconds.
    """

    name: str
    samples: int
    shape: tuple[int, ...]
    dtype: str
    batch: int
    chunk: int
    few: int

    @property
    def sample_bytes(self) -> int:
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize

    def smaller(self, factor: int) -> DataSet:
        """Return the same data set with fewer samples."""
        return replace(self, samples=self.samples // factor, few=max(8 * self.batch, self.few // factor))


A = DataSet("A", 60_000, (1, 28, 28), "uint8", 128, 256, 20_000)
B = DataSet("B", 20_000, (3, 64, 64), "uint8", 128, 16, 5_000)
C = DataSet("C", 2_000, (1, 40, 56, 50), "float32", 8, 1, 400)
QUICK = (A.smaller(20), B.smaller(10), replace(C, samples=64, few=64))
ALL = (A, B, C)


def blocks(data: DataSet) -> Iterator[NDArray[Any]]:
    """Yield the samples in blocks; each call yields the same ones."""
    generator = np.random.default_rng(sum(data.shape))
    block = max(1, (32 << 20) // (4 * int(np.prod(data.shape))))
    coarse = [min(8, size) for size in data.shape[1:]]
    stretch = [_interpolation(small, size) for small, size in zip(coarse, data.shape[1:], strict=True)]
    for start in range(0, data.samples, block):
        count = min(block, data.samples - start)
        field = generator.random((count, data.shape[0], *coarse), dtype=np.float32)
        for axis, matrix in enumerate(stretch, start=2):
            field = np.moveaxis(np.moveaxis(field, axis, -1) @ matrix, -1, axis)
        noise = generator.standard_normal(field.shape, dtype=np.float32)
        if data.dtype == "float32":
            yield np.rint(4095 * field + 4 * noise)
        elif data.shape[0] == 1:  # more than half of it is black
            yield np.where(field < 0.55, 0, 560 * (field - 0.55) + 2 * noise).clip(0, 255).astype(np.uint8)
        else:
            yield (255 * field + noise).clip(0, 255).astype(np.uint8)


def _interpolation(small: int, size: int) -> NDArray[np.float32]:
    """The matrix (small, size) that stretches an axis linearly."""
    unit = np.eye(small, dtype=np.float32)
    positions = np.linspace(0, small - 1, size)
    return np.stack([np.interp(positions, np.arange(small), row) for row in unit]).astype(np.float32)


def labels(data: DataSet) -> NDArray[np.int64]:
    """The number of each sample modulo 100, by which a batch can be checked."""
    return np.arange(data.samples, dtype=np.int64) % CLASSES


@cache
def raw_values(folder: Path, data: DataSet) -> NDArray[Any]:
    """A memory map of the plain values."""
    return np.memmap(folder / f"{data.name}.raw", data.dtype, mode="r", shape=(data.samples, *data.shape))


def write_raw(folder: Path, data: DataSet) -> None:
    """Write the plain values."""
    with (folder / f"{data.name}.raw").open("wb") as file:
        for block in blocks(data):
            block.tofile(file)


def peer_path(folder: Path, data: DataSet, peer: str) -> Path:
    """The file or folder in which a peer stores a data set."""
    return folder / f"{data.name}-{peer}"


# --- HDF5 ---------------------------------------------------------------------------------------


def chunked_layouts() -> dict[str, Callable[[DataSet], dict[str, Any]]]:
    """Return the arguments of ``create_dataset`` for each chunked layout."""
    layouts: dict[str, Callable[[DataSet], dict[str, Any]]] = {
        "chunked": lambda _: {},
        "gzip": lambda _: {"compression": "gzip", "shuffle": True},
        "lzf": lambda _: {"compression": "lzf", "shuffle": True},
    }
    try:
        import hdf5plugin
    except ImportError:
        return layouts
    return layouts | {
        "zstd": lambda _: dict(hdf5plugin.Zstd(clevel=3)),
        "blosc2": lambda _: dict(hdf5plugin.Blosc2(cname="zstd", clevel=3)),
        "bitshuffle": lambda _: dict(hdf5plugin.Bitshuffle(cname="lz4")),
    }


def hdf5_file(folder: Path, data: DataSet, layout: str) -> Path:
    """The file of a layout."""
    return folder / f"{data.name}-{layout}.h5"


def write_hdf5(folder: Path, data: DataSet, layout: str) -> None:
    """Write the training split of a data set; the contiguous layout exactly as hpc_dl does.

    Compressed files of C have fewer samples: compression is slow, and the rate does not depend on
    the number.
    """
    values, path = raw_values(folder, data), hdf5_file(folder, data, layout)
    if layout == "contiguous":
        splits = {"train": Samples(values, labels(data))}
        write(path, splits, source=data.name, task="classification", license="CC0-1.0")
        return
    values = values[: stored_samples(data, layout)]
    with h5py.File(path, "w", libver="latest") as file:
        options = chunked_layouts()[layout](data)
        file.create_dataset("train/inputs", data=values, chunks=(data.chunk, *data.shape), **options)
        file.create_dataset("train/targets", data=labels(data)[: len(values)])


def stored_samples(data: DataSet, layout: str) -> int:
    """The number of samples in the file of a layout."""
    return data.samples if layout == "contiguous" or data.sample_bytes < 1 << 16 else min(data.few, data.samples)


def compression_ratio(folder: Path, data: DataSet, layout: str) -> float:
    """The bytes of the samples for each byte in the file."""
    return stored_samples(data, layout) * data.sample_bytes / hdf5_file(folder, data, layout).stat().st_size


def write_sparse(path: Path, samples: int, shape: tuple[int, ...] = (1, 28, 28)) -> None:
    """Write a contiguous file of zeros of any size, whose values are a hole in the file.

    The last sample has the class 1, since one class alone is refused.
    """
    with h5py.File(path, "w", libver="latest") as file:
        for name, size, dtype in (("train/inputs", (samples, *shape), "u1"), ("train/targets", (samples,), "u1")):
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            file.create_dataset(name, size, dtype, dcpl=properties)
        file["train/targets"][-1] = 1
