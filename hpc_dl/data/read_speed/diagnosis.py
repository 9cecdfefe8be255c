"""What limits the reading speed of a dataset, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpc_dl.data.read_speed.shuffled import Speed
from hpc_dl.data.storage.hdf5 import FoundDataset
from hpc_dl.errors import DataError
from hpc_dl.formatting import megabytes

_LARGE_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class StoredDataset:
    """How a dataset is stored, according to its header."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    raw_bytes: int
    stored_bytes: int
    chunks: tuple[int, ...] | None
    filters: tuple[str, ...]

    @property
    def num_samples(self) -> int:
        """The number of samples."""
        return self.shape[0]

    @property
    def chunks_per_sample(self) -> int:
        """The number of chunks that a sample is divided into."""
        if self.chunks is None:
            return 1
        return int(np.prod([-(-size // chunk) for size, chunk in zip(self.shape[1:], self.chunks[1:], strict=True)]))

    @property
    def chunk_bytes(self) -> int:
        """The number of bytes of a decoded chunk."""
        if self.chunks is None:
            return 0
        return self.raw_bytes // self.num_samples * self.chunks[0] // self.chunks_per_sample

    @classmethod
    def of(cls, dataset: FoundDataset) -> StoredDataset:
        """Read the header of a dataset.

        Raises:
            DataError: the dataset is empty or does not contain numbers.
        """
        if not dataset.shape or not dataset.shape[0] or dataset.dtype.kind not in "biuf":
            raise DataError.at(
                f"{dataset.file.filename}:{dataset.name}", "contains no numbers to read", value=str(dataset.dtype)
            )
        creation = dataset.id.get_create_plist()
        filters = [creation.get_filter(number)[3].decode() for number in range(creation.get_nfilters())]
        return cls(
            name=dataset.path,
            shape=dataset.shape,
            dtype=str(dataset.dtype),
            raw_bytes=dataset.nbytes,
            stored_bytes=dataset.id.get_storage_size(),
            chunks=dataset.chunks,
            filters=tuple(name.partition(";")[0] or "unnamed filter" for name in filters),
        )


@dataclass(frozen=True)
class Diagnosis:
    """What limits the reading speed.

    Attributes:
        limit: description of the limit.
        remedy: what would help, other than repacking; may be empty.
        repack: whether repacking would help.
    """

    limit: str
    remedy: str = ""
    repack: bool = False


def diagnose(
    stored: StoredDataset, reading: str, warm: Speed, cold: Speed | None, memory: float, disk: float | None
) -> Diagnosis:
    """Find what limits the reading speed.

    Args:
        stored: the dataset.
        reading: how it is read: ``mapped``, ``chunks, …``, ``by h5py: …``.
        warm: speed from memory.
        cold: speed from disk, if it could be measured.
        memory: bytes per second of a copy in memory.
        disk: bytes per second of sequential reading from disk, if it could be measured.
    """
    codecs = ", ".join(name for name in stored.filters if name not in ("shuffle", "fletcher32"))
    if reading.startswith("by h5py"):
        return Diagnosis(f"h5py: one thread, one lock ({reading})", repack=True)
    if stored.chunks_per_sample > 1:
        limit = (
            f"the shape of the chunks {stored.chunks}: each sample is divided into {stored.chunks_per_sample} chunks"
        )
        return Diagnosis(limit, repack=True)
    if stored.chunk_bytes > _LARGE_CHUNK_BYTES and stored.chunks and stored.chunks[0] > 1:
        limit = f"the size of the chunks: {stored.chunk_bytes / 1e6:.0f} MB are decoded at a time"
        return Diagnosis(limit + (f" ({codecs})" if codecs else ""), repack=True)
    if codecs:
        return Diagnosis(f"decompression ({codecs})", repack=True)
    if cold and disk and cold.bytes_per_s < warm.bytes_per_s / 2:
        return Diagnosis("the disk until the file is in memory, then memory")
    if stored.chunks:
        return Diagnosis("copying of chunks", repack=True)
    if warm.bytes_per_s > memory / 4:
        return Diagnosis("memory")
    return Diagnosis("the overhead per batch and sample, since samples are small", remedy="use larger batches")


def repack_advice(path: Path, stored: StoredDataset, gain: float) -> str:
    """Return the advice to repack a file, or an empty string if the gain is below 1.3.

    Args:
        path: the file.
        stored: the dataset.
        gain: measured factor by which reading from memory becomes faster.
    """
    if gain < 1.3:
        return ""
    factor = f"{gain:.1f}" if gain < 3 else f"{float(f'{gain:.1g}'):.0f}"
    advice = f"repack: hpc-dl data pack {path.name} NEW.h5 --layout contiguous: about {factor} times as fast, in memory"
    if stored.raw_bytes > 1.2 * stored.stored_bytes:
        advice += f"; needs {megabytes(stored.raw_bytes)} instead of {megabytes(stored.stored_bytes)}"
    return advice
