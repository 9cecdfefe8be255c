"""NumPy files as a source: an npz archive, a folder of npy files, or two of its files."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import pair_up, without_split
from hpc_dl.data.packing.damaged import DAMAGED, MAX_RATIO
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.place import Place
from hpc_dl.data.packing.source import PackOptions, Source
from hpc_dl.data.packing.unlabeled import inputs_among, unlabeled
from hpc_dl.errors import DataError

_SMALL_BYTES = 1 << 20


class MappedColumn:
    """An npy file, read through a memory map."""

    rows_together = 1

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except DAMAGED as error:
            raise _unreadable(self.name, error) from None
        self.shape, self.dtype = self._rows.shape, self._rows.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        rows = self._rows[start:stop]
        return np.array(rows, rows.dtype.newbyteorder("="))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return np.asarray(self._rows[rows])

    def close(self) -> None:
        """See :class:`Column`; the map is closed with its last array."""


class ArchiveColumn:
    """An array in an npz archive, read as a stream because it may exceed the memory."""

    rows_together = 1

    def __init__(self, archive: zipfile.ZipFile, member: str) -> None:
        self.name = f"{archive.filename}:{member.removesuffix('.npy')}"
        self._archive, self._member = archive, member
        try:
            self._stream = archive.open(member)
            version = npy.read_magic(self._stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, fortran_order, self.dtype = read(self._stream)
        except DAMAGED as error:
            raise _unreadable(self.name, error) from None
        if fortran_order and len(self.shape) > 1:
            raise DataError.at(
                self.name, "is stored in Fortran order", remedy="save it again: np.savez(…, x=np.ascontiguousarray(x))"
            )
        if self.dtype.kind == "O":
            raise DataError.at(
                self.name,
                "cannot be read: it contains Python objects, which would need unpickling",
                remedy="save numbers or texts: `y.astype(str)`, `np.stack(x)`",
            )
        self._check_size(archive.getinfo(member))
        self._data_start = self._stream.tell()
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize

    def _check_size(self, member: zipfile.ZipInfo) -> None:
        """Check that the header declares no more than the archive can contain."""
        declared = math.prod(self.shape) * self.dtype.itemsize
        possible = min(member.file_size, member.compress_size * MAX_RATIO + _SMALL_BYTES)
        if not 0 <= declared <= possible:
            raise DataError.at(
                self.name,
                f"declares {declared:,} bytes of values, but has {member.compress_size:,} bytes",
                remedy="copy or save it again",
            )

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        num_bytes = (stop - start) * self._row_bytes
        try:
            # A seek backward decompresses from the start again, and a seek forward everything in
            # between. Reading in order needs neither.
            self._stream.seek(self._data_start + start * self._row_bytes)
            content = self._stream.read(num_bytes)
        except DAMAGED as error:
            raise _unreadable(self.name, error) from None
        if len(content) < num_bytes:
            raise _unreadable(self.name, EOFError(f"it ends within row {start + len(content) // self._row_bytes}"))
        rows = np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])
        return rows.astype(self.dtype.newbyteorder("="))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return None

    def close(self) -> None:
        """See :class:`Column`."""
        self._stream.close()


def open_npz(path: Path, options: PackOptions) -> Source:
    """Open an npz archive.

    Raises:
        DataError: the archive cannot be read, or its inputs and targets cannot be inferred.
    """
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGED as error:
        raise _unreadable(str(path), error) from None
    members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
    if options.trained_on is not None:
        name = inputs_among(list(members), path, options.inputs)
        return unlabeled(path, "npz archive", ArchiveColumn(archive, members[name]), options, [path.absolute()])
    columns: dict[str, tuple[Column, Column]] = {
        split: (ArchiveColumn(archive, members[inputs]), ArchiveColumn(archive, members[targets]))
        for split, (inputs, targets) in pair_up(list(members), path, options.inputs, options.targets).items()
    }
    return PairedSource(path, "npz archive", columns, options, [path.absolute()])


def open_npy(path: Path, options: PackOptions) -> Source:
    """Open a folder of npy files, or one npy file with targets in the same folder.

    The file of the targets is named by ``--targets``, or inferred from its name.

    Raises:
        DataError: a file cannot be read, or the file of the targets cannot be inferred.
    """
    if options.trained_on is not None:
        files = {file.stem: file for file in ([path] if path.is_file() else sorted(path.glob("*.npy")))}
        file = files[inputs_among(list(files), path, options.inputs)]
        return unlabeled(path, "npy file", MappedColumn(file), options, [file.absolute()])
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.glob("*.npy"))}
        pairs = pair_up(list(files), path, options.inputs, options.targets)
    else:
        files = {file.stem: file for file in sorted(path.parent.glob("*.npy"))}
        if options.targets and Path(options.targets).suffix == ".npy":
            targets = Path(options.targets)
            targets = targets if targets.exists() else path.parent / targets
            files |= {path.stem: path, targets.stem: targets}
            pairs = {"": (path.stem, targets.stem)}
        else:
            pairs = pair_up(list(files), path.parent, without_split(path.stem), options.targets)
    columns: dict[str, tuple[Column, Column]] = {
        split: (MappedColumn(files[inputs]), MappedColumn(files[targets])) for split, (inputs, targets) in pairs.items()
    }
    used = [files[name].absolute() for pair in pairs.values() for name in pair]
    return PairedSource(path, "npy files", columns, options, used)


def _unreadable(where: str, error: Exception) -> DataError:
    return DataError.at(where, f"cannot be read: {error}", remedy="copy or save it again")


def _claims(place: Place) -> bool:
    return place.is_file(".npz", ".npy") or (place.is_folder and any(place.path.glob("*.npy")))


def open_arrays(path: Path, options: PackOptions) -> Source:
    """Open an npz archive, an npy file or a folder of them."""
    return open_npz(path, options) if path.name.lower().endswith(".npz") else open_npy(path, options)


FORMAT = Format(".npz .npy, a folder of npy files", _claims, open_arrays, order=40)
