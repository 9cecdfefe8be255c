"""Checksums that name the content of a data file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
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
    """``sha256:…`` over path, type, shape and values of every dataset, sorted by path, read in
    blocks.

    Layout, compression and attributes do not change it: a repacked copy of a file keeps its
    checksum.
    """
    digest = hashlib.sha256()
    for name, dataset in sorted(datasets(file)):
        digest.update(f"{name}\0{dataset.dtype.str}\0{dataset.shape}\0".encode())
        for block in blocks(dataset):
            digest.update(block.tobytes())
    return f"sha256:{digest.hexdigest()}"


def file_checksum(path: str | Path) -> str:
    """A checksum over the bytes of a file that this project did not write, quick however large it
    is.

    Returns:
        ``sha256:…`` of all bytes up to 64 MiB; above that ``sampled-sha256:…`` of the length and of
        64 blocks of 64 KiB spread evenly, the first and the last included. The sample notices a
        replaced or regenerated file, not a single changed value.
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


def datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Path and dataset of every dataset that lies in the file itself (links out of it are not
    followed).
    """
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        if isinstance(found := file[name], h5py.Dataset):
            yield f"/{name}", found


def blocks(dataset: h5py.Dataset) -> Iterator[NDArray[Any]]:
    """All values of a dataset in pieces of about 8 MiB of whole rows."""
    if dataset.ndim == 0 or dataset.size == 0:
        yield np.asarray(dataset[()])
        return
    row_bytes = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
    step = max(1, _BLOCK_BYTES // row_bytes)
    for start in range(0, len(dataset), step):
        yield dataset[start : start + step]
