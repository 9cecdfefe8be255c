"""Checksums that identify the content of a data file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

_BLOCK_BYTES = 8 << 20
_WHOLE_FILE_BYTES = 64 << 20
_NUM_PROBES = 64
_PROBE_BYTES = 64 << 10


def content_checksum(file: h5py.File) -> str:
    """Return ``sha256:…`` over path, type, shape and values of all datasets, in the order of paths.

    Layout, compression and attributes do not count: a repacked copy of a file keeps its checksum.
    """
    digest = hashlib.sha256()
    for name, dataset in sorted(datasets(file)):
        digest.update(f"{name}\0{dataset.dtype.str}\0{dataset.shape}\0".encode())
        for block in blocks(dataset):
            digest.update(block.tobytes())
    return f"sha256:{digest.hexdigest()}"


def file_checksum(path: str | Path) -> str:
    """Return a checksum of a file that hpc_dl did not write; fast at any size.

    Returns:
        ``sha256:…`` of all bytes up to 64 MiB; for a larger file ``sampled-sha256:…`` of its length
        and of 64 evenly spread blocks of 64 KiB, the first and the last included. The sample
        detects a replaced or regenerated file, but not a single changed value.
    """
    with open(path, "rb") as file:
        num_bytes = os.fstat(file.fileno()).st_size
        if num_bytes <= _WHOLE_FILE_BYTES:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        digest = hashlib.sha256(str(num_bytes).encode())
        for probe in range(_NUM_PROBES):
            file.seek(probe * (num_bytes - _PROBE_BYTES) // (_NUM_PROBES - 1))
            digest.update(file.read(_PROBE_BYTES))
        return f"sampled-sha256:{digest.hexdigest()}"


def combined_checksum(checksums: Sequence[str]) -> str:
    """Return one checksum of several files; ``sampled-…`` if one of them is."""
    kind = "sampled-sha256" if any(checksum.startswith("sampled") for checksum in checksums) else "sha256"
    return f"{kind}:{hashlib.sha256(' '.join(checksums).encode()).hexdigest()}"


def datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield path and dataset of every dataset in the file itself.

    Links out of the file are not followed.
    """
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        if isinstance(item := file[name], h5py.Dataset):
            yield f"/{name}", item


def blocks(dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """Yield all values of a dataset in pieces of about 8 MiB of whole rows."""
    if dataset.ndim == 0 or dataset.size == 0:
        yield np.asarray(dataset[()])
        return
    row_bytes = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(dataset), step):
        yield dataset[start : start + step]
