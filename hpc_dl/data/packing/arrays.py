"""NumPy's files as a source: an npz archive, a folder of npy files, or one npy file with its
targets beside it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from hpc_dl.data.packing.paired import Column, PairedSource, base_of, pair_up
from hpc_dl.data.packing.source import Source, Wishes
from hpc_dl.errors import DataError


class MappedColumn:
    """An npy file, read through a memory map."""

    rows_together = 1

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        try:
            self._rows = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
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
        """See :class:`Column`; the map goes with its last array."""


class PackedColumn:
    """An array in an npz archive, read as a stream: it may be larger than memory, and it may be
    compressed.
    """

    rows_together = 1

    def __init__(self, archive: zipfile.ZipFile, member: str) -> None:
        self.name = f"{archive.filename}:{member.removesuffix('.npy')}"
        self._archive, self._member = archive, member
        try:
            self._stream = archive.open(member)
            version = npy.read_magic(self._stream)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            self.shape, fortran_order, self.dtype = read(self._stream)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
            raise _unreadable(self.name, error) from None
        if fortran_order and len(self.shape) > 1:
            raise DataError.at(
                self.name, "lies in Fortran order", remedy="save it again: np.savez(…, x=np.ascontiguousarray(x))"
            )
        if self.dtype.kind == "O":
            raise _unreadable(self.name, ValueError("it holds Python objects, which are not unpickled"))
        self._begin = self._stream.tell()
        self._row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        num_bytes = (stop - start) * self._row_bytes
        try:
            # A seek backwards begins anew, one forwards unpacks what lies between: neither happens
            # in order.
            self._stream.seek(self._begin + start * self._row_bytes)
            content = self._stream.read(num_bytes)
        except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
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


def open_npz(path: Path, wishes: Wishes) -> Source:
    """An npz archive as a source.

    Raises:
        DataError: it cannot be read, or does not tell inputs and targets.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise _unreadable(str(path), error) from None
    members = {name.removesuffix(".npy"): name for name in archive.namelist() if name.endswith(".npy")}
    columns: dict[str, tuple[Column, Column]] = {
        split: (PackedColumn(archive, members[inputs]), PackedColumn(archive, members[targets]))
        for split, (inputs, targets) in pair_up(list(members), wishes, path).items()
    }
    return PairedSource(path, "npz archive", columns, wishes, [path.absolute()])


def open_npy(path: Path, wishes: Wishes) -> Source:
    """A folder of npy files, or one npy file whose targets are named by ``--targets`` or lie beside
    it.

    Raises:
        DataError: a file cannot be read, or it is not told which holds the targets.
    """
    if path.is_dir():
        files = {file.stem: file for file in sorted(path.glob("*.npy"))}
        pairs = pair_up(list(files), wishes, path)
    else:
        files = {file.stem: file for file in sorted(path.parent.glob("*.npy"))}
        if wishes.targets and Path(wishes.targets).suffix == ".npy":
            targets = Path(wishes.targets)
            targets = targets if targets.exists() else path.parent / targets
            files |= {path.stem: path, targets.stem: targets}
            pairs = {"": (path.stem, targets.stem)}
        else:
            pairs = pair_up(list(files), Wishes(inputs=base_of(path.stem), targets=wishes.targets), path.parent)
    columns: dict[str, tuple[Column, Column]] = {
        split: (MappedColumn(files[inputs]), MappedColumn(files[targets])) for split, (inputs, targets) in pairs.items()
    }
    read = [files[name].absolute() for pair in pairs.values() for name in pair]
    return PairedSource(path, "npy files", columns, wishes, read)


def _unreadable(where: str, error: Exception) -> DataError:
    return DataError.at(where, f"cannot be read: {error}", remedy="copy or save it again")
