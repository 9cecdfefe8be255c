"""Contents and integrity of a file: ``hpc-dl data inspect`` and ``hpc-dl data verify``."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
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
from hpc_dl.data.storage.dependencies import Link, files_behind, linked_datasets, links_in
from hpc_dl.data.storage.hdf5 import attribute, open_file, reports_damage, where
from hpc_dl.data.storage.rows import RowReader, open_rows
from hpc_dl.data.storage.structure import has_checked_structure
from hpc_dl.errors import DataError, Fault

_PIECE_BYTES = 8 << 20
_MAX_FAULTS = 8  # listed per dataset


@reports_damage
def inspect(path: str | Path) -> dict[str, Any]:
    """Describe any HDF5 file without reading its inputs; all values are ready for JSON.

    Returns:
        ``file``, ``bytes``, ``format`` (``hpc_dl 2`` or None), ``attributes``, ``datasets`` and
        ``links`` (one mapping each), ``other_files`` that are read with it, ``spec`` (the data as a
        model sees them) or None, and ``faults``: why the file has no spec with default settings.

    Raises:
        DataError: the file cannot be opened.
    """
    path = Path(path).absolute()
    with open_file(path) as file:
        report: dict[str, Any] = {
            "file": str(path),
            "bytes": os.path.getsize(path),
            "format": f"{FORMAT} {FORMAT_VERSION}" if is_own_format(file) else None,
            "attributes": _attributes(file),
            "datasets": [_describe(name, dataset, _reading(path, dataset)) for name, dataset in datasets(file)],
            "links": [_describe_link(path, link) for link in links_in(file)],
            "other_files": [str(other) for other in files_behind(path)[1:]],
        }
    try:
        spec = open_data(path, _default_config(path)).spec
    except DataError as error:
        return report | {"spec": None, "faults": [str(fault) for fault in error.faults]}
    first = {"input_shape": spec.input_shape, "input_dtype": spec.input_dtype}
    return report | {"spec": first | asdict(spec), "faults": []}


@reports_damage
def verify(path: str | Path, progress: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Read a whole file and check it.

    A file in our own format must open as in training, hold finite inputs, and match its checksum.
    Of another file every dataset is read; NaN and infinite values are only counted, since they may
    be intended.

    Args:
        path: the file.
        progress: called for each part that was read.

    Returns:
        ``file``, ``checksum`` (the one stored in the file, or None), ``num_datasets``, ``nan`` and
        ``infinite``: the number of such values by dataset, and ``unprotected``: datasets in which a
        flipped bit goes unnoticed, because neither they nor the file have a checksum;
        ``never_written``: the number of chunks that read as fill values, by dataset; and
        ``unchecked_structure``: whether a flipped bit in a shape, a type or the place of a chunk
        may go unnoticed.

    Raises:
        DataError: with every problem found.
    """
    path = Path(path).absolute()
    faults: list[Fault] = []
    nan: dict[str, int] = {}
    infinite: dict[str, int] = {}
    unprotected: list[str] = []
    never_written: dict[str, int] = {}
    checksum = None
    with open_file(path) as file:
        own_format = is_own_format(file)
        unchecked_structure = not own_format and not has_checked_structure(file)
        num_datasets = 0
        for link in links_in(file):
            if link.item is None:
                faults.append(Fault(where(file, link.path), f"is a {link.kind} that leads nowhere", value=link.target))
        for name, dataset in linked_datasets(file):
            num_datasets += 1
            if not own_format and not _has_checksum(dataset):
                unprotected.append(name)
            if missing := _chunks_never_written(dataset):
                never_written[name] = missing
            counts, damage = _read_all(path, dataset, name, progress)
            num_nan, num_infinite = map(int, counts)
            faults += damage
            if damage:
                continue
            if num_infinite and own_format and name.endswith("/inputs"):
                remedy = "correct them, or store missing values as NaN and set `data.imputation`"
                faults.append(Fault(where(dataset), f"contains {num_infinite} infinite values", remedy=remedy))
            elif num_infinite:
                infinite[name] = num_infinite
            if num_nan:
                nan[name] = num_nan
        if own_format and not faults:
            checksum = f"sha256:{attribute(file, 'sha256')}"
            if (computed := content_checksum(file, progress)) != checksum:
                faults.append(
                    Fault(
                        str(path),
                        "the content does not match the stored checksum: the file was changed or damaged",
                        value=computed,
                        allowed=checksum,
                        remedy="copy or create it again (`hpc-dl data make SOURCE --force`, `hpc-dl data pack`)",
                    )
                )
    if own_format:
        try:
            open_data(path, _default_config(path))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(*dict.fromkeys(faults))
    return {
        "file": str(path),
        "checksum": checksum,
        "num_datasets": num_datasets,
        "nan": nan,
        "infinite": infinite,
        "unprotected": unprotected,
        "unchecked_structure": unchecked_structure,
        "never_written": never_written,
    }


def _default_config(path: Path) -> DataConfig:
    """Return default settings; each step of a stream is a sample."""
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


def _describe_link(path: Path, link: Link) -> dict[str, Any]:
    """Describe a link: what it names, what HDF5 finds there, and how that would be read."""
    described: dict[str, Any] = {"path": link.path, "kind": link.kind, "target": link.target}
    if link.item is None:
        return described | {"leads_to": None, "shape": None, "dtype": None, "reading": "leads nowhere"}
    described["leads_to"] = f"{link.item.file.filename}:{link.item.name}"
    if isinstance(link.item, h5py.Group):
        return described | {"shape": None, "dtype": None, "reading": "group"}
    shape = None if link.item.shape is None else list(link.item.shape)
    return described | {
        "shape": shape,
        "dtype": str(link.item.dtype),
        "reading": _reading(path, link.item, link.path),
    }


def _reading(path: Path, dataset: h5py.Dataset, name: str | None = None) -> str:
    """Return how a training run would read a dataset, or why it cannot."""
    if not dataset.shape:
        return "as a whole"
    try:
        reader = open_rows(path, name or dataset.name, threads=len(os.sched_getaffinity(0)))
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
    filters = [creation.get_filter(number)[3].decode(errors="replace") for number in range(creation.get_nfilters())]
    return " ".join([f"chunks {dataset.chunks}", *(name or "unnamed filter" for name in filters)])


def _attributes(item: h5py.File | h5py.Dataset) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in item.attrs:
        try:
            shown[name] = _plain(attribute(item, name))
        except DataError as error:  # too large to read; the rest can still be shown
            shown[name] = error.faults[0].problem
    return shown


def _plain(value: Any) -> Any:
    """Return the value if JSON has its type, else its text, such as that of a reference."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _has_checksum(dataset: h5py.Dataset) -> bool:
    """Whether a flipped bit in the values is noticed.

    Fletcher-32 notices it, and so does the Adler-32 checksum that is part of gzip.
    """
    creation = dataset.id.get_create_plist()
    filters = {creation.get_filter(number)[0] for number in range(creation.get_nfilters())}
    return dataset.size == 0 or bool(filters & {h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_DEFLATE})


def _chunks_never_written(dataset: h5py.Dataset) -> int:
    if dataset.chunks is None or not dataset.shape or dataset.is_virtual:
        return 0
    lengths = zip(dataset.shape, dataset.chunks, strict=True)
    return int(math.prod(-(-length // size) for length, size in lengths) - dataset.id.get_num_chunks())


@reports_damage
def _read_all(
    path: Path, dataset: h5py.Dataset, name: str, progress: Callable[[], object]
) -> tuple[NDArray[np.int64], list[Fault]]:
    """Read a whole dataset, count NaN and infinite values, and collect the damaged parts."""
    counts = np.zeros(2, np.int64)
    if not dataset.shape or not dataset.size:
        return counts, []
    faults: list[Fault] = []
    try:
        with closing(open_rows(path, name, threads=len(os.sched_getaffinity(0)))) as reader:
            block_rows = reader.rows_together
            for rows in _pieces(dataset, block_rows):
                progress()
                try:
                    counts += _count_nonfinite(reader, rows)
                except DataError:
                    for block in np.split(rows, range(block_rows, len(rows), block_rows)):
                        try:
                            counts += _count_nonfinite(reader, block)
                        except DataError as error:
                            faults += error.faults
    except DataError as error:
        faults += error.faults
    if len(faults) > _MAX_FAULTS:
        more = Fault(where(dataset), f"{len(faults) - _MAX_FAULTS} more parts are damaged")
        faults = [*faults[:_MAX_FAULTS], more]
    return counts, faults


def _pieces(dataset: h5py.Dataset, block_rows: int) -> Iterator[NDArray[np.intp]]:
    """Yield the rows of a dataset in pieces of about 8 MiB of whole chunks."""
    row_bytes = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
    step = max(1, _PIECE_BYTES // (row_bytes * block_rows)) * block_rows
    for start in range(0, len(dataset), step):
        yield np.arange(start, min(start + step, len(dataset)))


def _count_nonfinite(reader: RowReader, rows: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the number of NaN and of infinite values."""
    reader.prefetch(rows)
    values = reader.take(rows)
    if values.dtype.kind != "f":
        return np.zeros(2, np.int64)
    return np.array([np.count_nonzero(np.isnan(values)), np.count_nonzero(np.isinf(values))])
