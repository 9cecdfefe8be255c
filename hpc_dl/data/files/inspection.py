"""What is in a file, and whether all of it is sound: ``hpc-dl data inspect`` and ``hpc-dl data
verify``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig, Windows
from hpc_dl.data.files.data_file import is_own_format, open_data
from hpc_dl.data.files.format import FORMAT, FORMAT_VERSION
from hpc_dl.data.storage.checksum import content_checksum, datasets
from hpc_dl.data.storage.hdf5 import attribute, open_file, where
from hpc_dl.data.storage.rows import RowReader, open_rows
from hpc_dl.errors import DataError, Fault

_STRETCH_BYTES = 8 << 20
_NUM_LISTED = 8


def inspect(path: str | Path) -> dict[str, Any]:
    """Describe any HDF5 file without reading its inputs; all values are ready for JSON.

    Returns:
        ``file``, ``bytes``, ``format`` (``hpc_dl 2`` or None), ``attributes``, ``datasets`` (one
        mapping each), ``spec`` (as a model will see the data) or None, and ``faults``: why there is
        no spec with default settings.

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
            "datasets": [_describe(name, dataset, _reading(path, dataset)) for name, dataset in datasets(file)],
        }
    try:
        spec = open_data(path, _plainest(path)).spec
    except DataError as error:
        return found | {"spec": None, "faults": [str(fault) for fault in error.faults]}
    first = {"input_shape": spec.input_shape, "input_dtype": spec.input_dtype}
    return found | {"spec": first | asdict(spec), "faults": []}


def verify(path: str | Path) -> dict[str, Any]:
    """Read all of a file and check it.

    A file of our own format must open as training will open it, hold finite inputs, and match its
    checksum. Of another file every dataset is read; its NaN and infinite values are counted, since
    they may be meant.

    Returns:
        ``file``, ``checksum`` (that of the file, or None where it has none), ``num_datasets``,
        ``nan`` and ``infinite``: the number of such values by dataset, and ``unprotected``:
        datasets in which a flipped bit cannot be seen, as neither they nor the file have a
        checksum.

    Raises:
        DataError: with every fault found.
    """
    path = Path(path).absolute()
    faults: list[Fault] = []
    nan: dict[str, int] = {}
    infinite_in: dict[str, int] = {}
    unprotected: list[str] = []
    checksum = None
    with open_file(path) as file:
        own_format = is_own_format(file)
        num_datasets = 0
        for name, dataset in datasets(file):
            num_datasets += 1
            if not own_format and not _has_checksum(dataset):
                unprotected.append(name)
            nan_and_infinite, damaged = _read_all(path, dataset)
            missing, infinite = map(int, nan_and_infinite)
            faults += damaged
            if damaged:
                continue
            if infinite and own_format and name.endswith("/inputs"):
                faults.append(Fault(where(dataset), f"holds {infinite} infinite values", remedy="mend them"))
            elif infinite:
                infinite_in[name] = infinite
            if missing:
                nan[name] = missing
        if own_format and not faults:
            checksum = f"sha256:{attribute(file, 'sha256')}"
            if (computed := content_checksum(file)) != checksum:
                faults.append(
                    Fault(
                        str(path),
                        "the content does not match its checksum: it was changed or damaged",
                        value=computed,
                        allowed=checksum,
                        remedy="copy it again, or make it again (`hpc-dl data make SOURCE --force` or `data pack`)",
                    )
                )
    if own_format:
        try:
            open_data(path, _plainest(path))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(*dict.fromkeys(faults))
    return {
        "file": str(path),
        "checksum": checksum,
        "num_datasets": num_datasets,
        "nan": nan,
        "infinite": infinite_in,
        "unprotected": unprotected,
    }


def _plainest(path: Path) -> DataConfig:
    """Default settings; of a stream single steps are samples."""
    with open_file(path) as file:
        stream = bool(attribute(file, "stream"))
    return DataConfig(file=str(path), windows=Windows(length=1) if stream else None)


def _describe(name: str, dataset: h5py.Dataset, reading: str) -> dict[str, Any]:
    return {
        "path": name,
        "shape": None if dataset.shape is None else list(dataset.shape),
        "dtype": str(dataset.dtype),
        "layout": _layout(dataset) + (", mapped" if reading == "mapped" else ""),
        "reading": reading,
        "bytes": dataset.id.get_storage_size(),
        "attributes": _attributes(dataset),
    }


def _reading(path: Path, dataset: h5py.Dataset) -> str:
    """How a training would read a dataset, or why it cannot."""
    if not dataset.shape:
        return "as a whole"
    try:
        reader = open_rows(path, dataset.name, threads=len(os.sched_getaffinity(0)))
    except DataError as error:
        return "; ".join(fault.problem for fault in error.faults)
    reader.close()
    return reader.reading


def _layout(dataset: h5py.Dataset) -> str:
    """``contiguous``, or ``chunks (64, 1, 28, 28) gzip``."""
    if dataset.shape is None:
        return "empty"
    if dataset.is_virtual:
        return "virtual"
    if dataset.chunks is None:
        return "contiguous"
    creation = dataset.id.get_create_plist()
    filters = [creation.get_filter(number)[3].decode() for number in range(creation.get_nfilters())]
    return " ".join([f"chunks {dataset.chunks}", *(name or "unnamed filter" for name in filters)])


def _attributes(item: h5py.File | h5py.Dataset) -> dict[str, Any]:
    return {name: _plain(attribute(item, name)) for name in item.attrs}


def _plain(value: Any) -> Any:
    """The value where JSON knows its type, else its text."""
    return value if isinstance(value, str | int | float | bool | list | None) else str(value)


def _has_checksum(dataset: h5py.Dataset) -> bool:
    """Whether a flipped bit in the values is noticed: Fletcher-32, or the Adler-32 that is part of
    gzip.
    """
    creation = dataset.id.get_create_plist()
    filters = {creation.get_filter(number)[0] for number in range(creation.get_nfilters())}
    return dataset.size == 0 or bool(filters & {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_DEFLATE})


def _read_all(path: Path, dataset: h5py.Dataset) -> tuple[NDArray[np.int64], list[Fault]]:
    """Read a dataset in full, and count NaN and infinite values of a numeric one; go on after
    damaged parts.
    """
    count = np.zeros(2, np.int64)
    if not dataset.shape:
        return count, []
    faults: list[Fault] = []
    try:
        with closing(open_rows(path, dataset.name, threads=len(os.sched_getaffinity(0)))) as reader:
            together = reader.rows_together
            for rows in _stretches(dataset, together):
                try:
                    count += _count_nonfinite(reader, rows)
                except DataError:
                    for block in np.split(rows, range(together, len(rows), together)):
                        try:
                            count += _count_nonfinite(reader, block)
                        except DataError as error:
                            faults += error.faults
    except DataError as error:
        faults += error.faults
    if len(faults) > _NUM_LISTED:
        more = Fault(where(dataset), f"{len(faults) - _NUM_LISTED} more parts of it are damaged")
        faults = [*faults[:_NUM_LISTED], more]
    return count, faults


def _stretches(dataset: h5py.Dataset, together: int) -> Iterator[NDArray[np.intp]]:
    """The rows of a dataset in pieces of about 8 MiB of whole chunks."""
    row_bytes = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
    step = max(1, _STRETCH_BYTES // (row_bytes * together)) * together
    for start in range(0, len(dataset), step):
        yield np.arange(start, min(start + step, len(dataset)))


def _count_nonfinite(reader: RowReader, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """NaN and infinite values."""
    reader.expect(rows)
    values = reader.take(rows)
    if values.dtype.kind != "f":
        return np.zeros(2, np.int64)
    return np.array([np.count_nonzero(np.isnan(values)), np.count_nonzero(np.isinf(values))])
