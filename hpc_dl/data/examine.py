"""What is in a file, and whether all of it is sound: ``hpc-dl data inspect`` and ``hpc-dl data verify``."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_dl.data.checksum import blocks, content_checksum, datasets
from hpc_dl.data.config import DataConfig
from hpc_dl.data.format import FORMAT, FORMAT_VERSION
from hpc_dl.data.hdf5 import attribute, open_file, where
from hpc_dl.data.opening import is_own_format, open_data
from hpc_dl.data.rows import is_mappable
from hpc_dl.errors import DataError, Fault


def inspect(path: str | Path) -> dict[str, Any]:
    """Describe any HDF5 file without reading its inputs; all values are ready for JSON.

    Returns:
        ``file``, ``bytes``, ``format`` (``hpc_dl 1`` or None), ``attributes``, ``datasets`` (one mapping each),
        ``spec`` (as a model will see the data) or None, and ``faults``: why there is no spec with default settings.

    Raises:
        DataError: the file cannot be opened.
    """
    path = Path(path).absolute()
    with open_file(path) as file:
        found: dict[str, Any] = {
            "file": str(path),
            "bytes": os.path.getsize(path),
            "format": f"{FORMAT} {FORMAT_VERSION}" if is_own_format(file) else None,
            "attributes": _attributes(file),
            "datasets": [_describe(name, dataset) for name, dataset in datasets(file)],
        }
    try:
        spec = open_data(path, DataConfig(file=str(path))).spec
    except DataError as error:
        return found | {"spec": None, "faults": [str(fault) for fault in error.faults]}
    return found | {"spec": asdict(spec), "faults": []}


def verify(path: str | Path) -> dict[str, Any]:
    """Read all of a file and check it.

    A file of our own format must open as training will open it, hold finite inputs, and match its checksum. Of another
    file every dataset is read; its NaN and infinite values are counted, since they may be meant.

    Returns:
        ``file``, ``checksum`` (that of the file, or None where it has none), ``num_datasets`` and ``nonfinite``: the
        number of NaN and infinite values by dataset, of a foreign file.

    Raises:
        DataError: with every fault found.
    """
    path = Path(path).absolute()
    faults: list[Fault] = []
    nonfinite: dict[str, int] = {}
    checksum = None
    with open_file(path) as file:
        own_format = is_own_format(file)
        num_datasets = 0
        for name, dataset in datasets(file):
            num_datasets += 1
            try:
                count = _count_nonfinite(dataset)
            except OSError as error:
                faults.append(Fault(where(dataset), f"cannot be read: {error}", remedy="copy or make the file again"))
                continue
            if count and own_format and name.endswith("/inputs"):
                faults.append(Fault(where(dataset), f"holds {count} NaN or infinite values", remedy="mend them"))
            elif count and not own_format:
                nonfinite[name] = count
        if own_format and not faults:
            checksum = f"sha256:{attribute(file, 'sha256')}"
            if (computed := content_checksum(file)) != checksum:
                faults.append(
                    Fault(
                        str(path),
                        "the content does not match its checksum: it was changed or damaged",
                        value=computed,
                        allowed=checksum,
                        remedy="copy it again, or make it again (`hpc-dl data make SOURCE --force`)",
                    )
                )
    if own_format:
        try:
            open_data(path, DataConfig(file=str(path)))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(*faults)
    return {"file": str(path), "checksum": checksum, "num_datasets": num_datasets, "nonfinite": nonfinite}


def _describe(name: str, dataset: h5py.Dataset) -> dict[str, Any]:
    return {
        "path": name,
        "shape": None if dataset.shape is None else list(dataset.shape),
        "dtype": str(dataset.dtype),
        "layout": _layout(dataset),
        "bytes": dataset.id.get_storage_size(),
        "attributes": _attributes(dataset),
    }


def _layout(dataset: h5py.Dataset) -> str:
    """``contiguous``, or ``chunks (64, 1, 28, 28) gzip``; ``, mapped`` when batches come from a memory map."""
    if dataset.shape is None:
        return "empty"
    if dataset.is_virtual:
        return "virtual"
    if dataset.chunks is None:
        return "contiguous, mapped" if is_mappable(dataset) else "contiguous"
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(number)[3].decode() for number in range(creation.get_nfilters())]
    return " ".join([f"chunks {dataset.chunks}", *(name or "unnamed filter" for name in filters)])


def _attributes(item: h5py.File | h5py.Dataset) -> dict[str, Any]:
    return {name: _plain(attribute(item, name)) for name in item.attrs}


def _plain(value: Any) -> Any:
    """The value where JSON knows its type, else its text."""
    return value if isinstance(value, str | int | float | bool | list | None) else str(value)


def _count_nonfinite(dataset: h5py.Dataset) -> int:
    """Read a dataset in full, and count the NaN and infinite values of a numeric one."""
    if dataset.shape is None:
        return 0
    numeric = dataset.dtype.kind == "f"
    return sum(int(np.count_nonzero(~np.isfinite(block))) if numeric else 0 for block in blocks(dataset))
