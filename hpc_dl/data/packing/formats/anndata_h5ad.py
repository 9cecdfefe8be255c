"""AnnData files (.h5ad) of single cells; their matrix is dense or sparse, and read in blocks.

The layout is described at https://anndata.readthedocs.io (on-disk format, versions 0.7 and later).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.array_column import ArrayColumn
from hpc_dl.data.packing.column_choice import target_columns
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.formats.hdf5 import HDF5Column
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.storage.available_memory import available_bytes
from hpc_dl.data.storage.hdf5 import attribute, open_file
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

_USUAL_TARGETS = ("cell_type", "celltype", "cell_ontology_class")
_MOST_NAMES = 100_000


class SparseColumn:
    """Rows of a sparse matrix as dense arrays; zeros are filled in block by block."""

    rows_together = 1

    def __init__(self, path: Path, name: str) -> None:
        self.name = f"{path}:/{name}"
        self._file = open_file(path)
        group = self._file[name]
        encoding = str(attribute(group, "encoding-type") or attribute(group, "h5sparse_format"))
        shape = group.attrs.get("shape", group.attrs.get("h5sparse_shape"))
        parts = [group.get(part) for part in ("data", "indices", "indptr")]
        if (
            encoding[:3] not in ("csr", "csc")
            or shape is None
            or len(np.atleast_1d(shape)) != 2
            or not all(isinstance(part, h5py.Dataset) and part.ndim == 1 for part in parts)
        ):
            raise DataError.at(self.name, "is not a sparse matrix as AnnData stores it", value=encoding)
        self.shape: tuple[int, ...] = (int(shape[0]), int(shape[1]))
        self._values, self._indices = parts[0], parts[1]
        self.dtype = self._values.dtype
        if self.shape[1] * self.dtype.itemsize > available_bytes() / 8:
            raise DataError.at(self.name, "has rows that exceed the memory", value=self.shape)
        is_csr = encoding.startswith("csr")
        self._check_sizes(parts[2], self.shape[0] if is_csr else self.shape[1])
        self._starts = parts[2][()].astype(np.int64)
        if len(self._starts) < 1 or (np.diff(self._starts) < 0).any() or self._starts[-1] != len(self._values):
            raise DataError.at(f"{self.name}/indptr", "does not fit the data", remedy="write the file again")
        if not is_csr:
            self._sort_by_row()

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        begin, end = int(self._starts[start]), int(self._starts[stop])
        columns = np.asarray(self._indices[begin:end]).astype(np.int64)
        if len(columns) and not 0 <= columns.min() <= columns.max() < self.shape[1]:
            raise DataError.at(
                f"{self.name}/indices", "has a column that does not exist", remedy="write the file again"
            )
        rows = np.repeat(np.arange(stop - start), np.diff(self._starts[start : stop + 1]))
        dense = np.zeros((stop - start, self.shape[1]), self.dtype.newbyteorder("="))
        np.add.at(dense, (rows, columns), np.asarray(self._values[begin:end]))
        return dense

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return None

    def close(self) -> None:
        """See :class:`Column`."""
        self._file.close()

    def _check_sizes(self, starts: h5py.Dataset, num: int) -> None:
        if len(starts) != num + 1 or len(self._indices) != len(self._values):
            raise DataError.at(self.name, "has parts that differ in length", remedy="write the file again")

    def _sort_by_row(self) -> None:
        """Sort a matrix that is stored by columns; it has to fit into memory."""
        num = len(self._values)
        if num * (self.dtype.itemsize + 32) > available_bytes() / 2:
            raise DataError.at(
                self.name, f"is sparse by columns, and its {num:,} values exceed the memory",
                remedy="store it by rows: `adata.X = adata.X.tocsr()`",
            )  # fmt: skip
        rows = self._indices[()].astype(np.int64)
        if num and not 0 <= rows.min() <= rows.max() < self.shape[0]:
            raise DataError.at(f"{self.name}/indices", "has a row that does not exist", remedy="write the file again")
        columns = np.repeat(np.arange(self.shape[1]), np.diff(self._starts))
        order = np.argsort(rows, kind="stable")
        self._values, self._indices = self._values[()][order], columns[order]
        self._starts = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=self.shape[0]))])


def open_h5ad(path: Path, options: PackOptions) -> Source:
    """Open an AnnData file: X, or the matrix of ``--inputs``, and a column of ``obs``.

    Raises:
        DataError: the matrix or the column does not exist, or is not stored as AnnData does.
    """
    with open_file(path) as file:
        name = (options.inputs or "X").strip("/")
        item = file.get(name)
        if item is None:
            found = ["X", *(f"{group}/{key}" for group in ("layers", "obsm") for key in file.get(group, {}))]
            raise DataError.at(
                f"{path}:/{name}", "does not exist", allowed=", ".join(found), remedy="correct `--inputs`"
            )
        obs = file.get("obs")
        if not isinstance(obs, h5py.Group):
            raise DataError.at(
                f"{path}:/obs", "is not a table as AnnData 0.7 or later stores it", remedy="write it again"
            )
        columns = [key for key in obs if not key.startswith("__") and key != attribute(obs, "_index")]
        usual = [key for key in columns if key.lower() in _USUAL_TARGETS]
        chosen = options.targets or next(iter(usual), None)
        target = chosen if chosen in columns else target_columns(path, columns, chosen)[0]
        assert target is not None
        labels = _column(path, obs, target)
        groups = (
            ArrayColumn(f"{path}:/obs/{options.group}", _column(path, obs, options.group)) if options.group else None
        )
        inputs: SparseColumn | HDF5Column = (
            HDF5Column(item) if isinstance(item, h5py.Dataset) else SparseColumn(path, name)
        )
        genes = _names(file.get("var"))
        about = attribute(file, "title")
    pairs: dict[str, tuple[Column, Column]] = {"": (inputs, ArrayColumn(f"{path}:/obs/{target}", labels))}
    source = PairedSource(
        path,
        "AnnData",
        pairs,
        options,
        [path.absolute()],
        groups=groups,
        attributes={"description": str(about)} if about else {},
    )
    if name == "X" or name.startswith("layers/"):
        source.input_attributes["columns"] = genes
    if isinstance(inputs, SparseColumn):
        source.notes.append("the sparse matrix is stored with its zeros; `--codec zstd` makes the file small")
    return source


def _column(path: Path, obs: h5py.Group, name: str) -> NDArray[Any]:
    """Return a column of ``obs``: numbers, or texts."""
    place = f"{path}:/obs/{name}"
    item = obs.get(name)
    try:
        if isinstance(item, h5py.Group) and "codes" in item:
            return _named(place, item["codes"][()], _texts(item["categories"]))
        if isinstance(item, h5py.Group) and "values" in item:
            if "mask" in item and item["mask"][()].any():
                raise _missing(place, int(item["mask"][()].sum()))
            return _texts(item["values"])
        if isinstance(item, h5py.Dataset):
            older = obs.get(f"__categories/{name}")
            return _texts(item) if older is None else _named(place, item[()], _texts(older))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError.at(place, f"cannot be read: {error}", remedy="write the file again") from None
    keys = [key for key in obs if not key.startswith("__")]
    raise DataError.at(place, "does not exist", allowed=shortened(keys, 20), remedy="correct `--targets` or `--group`")


def _named(place: str, codes: NDArray[Any], categories: NDArray[Any]) -> NDArray[Any]:
    if num := int((codes < 0).sum()):
        raise _missing(place, num)
    if len(codes) and codes.max() >= len(categories):
        raise DataError.at(place, "has a code without category", value=int(codes.max()))
    return np.asarray(np.array([str(text) for text in categories], dtype=object)[codes])


def _missing(place: str, num: int) -> DataError:
    name = place.rpartition("/")[2]
    remedy = f"leave them out: `adata[adata.obs['{name}'].notna()].write_h5ad(NEW)`"
    return DataError.at(place, f"has no value for {num:,} cells", remedy=remedy)


def _texts(dataset: h5py.Dataset) -> NDArray[Any]:
    is_text = h5py.check_string_dtype(dataset.dtype)
    return np.asarray(dataset.asstr(errors="backslashreplace")[()] if is_text else dataset[()])


def _names(table: Any) -> tuple[str, ...]:
    """Return the names of the genes, if the file has them."""
    name = attribute(table, "_index") if isinstance(table, h5py.Group) else None
    item = table.get(name) if isinstance(name, str) else None
    if not isinstance(item, h5py.Dataset) or item.ndim != 1 or len(item) > _MOST_NAMES:
        return ()
    return tuple(str(text).replace("\0", "") for text in _texts(item))


FORMAT = Format(".h5ad", lambda place: place.is_file(".h5ad"), open_h5ad)
