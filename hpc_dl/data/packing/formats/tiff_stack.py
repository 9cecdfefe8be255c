"""One multi-page TIFF whose pages are samples, with a second stack of masks or npy labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.damaged import DAMAGED
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.formats.arrays import MappedColumn
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.source import PackOptions, Source, require
from hpc_dl.data.packing.unlabeled import unlabeled
from hpc_dl.errors import DataError

_SUFFIXES = (".tif", ".tiff")


class PageColumn:
    """The pages of a TIFF file, all of one size and type."""

    rows_together = 1

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        pillow = require("PIL.Image", "Pillow", self.name)
        self._errors = (*DAMAGED, pillow.DecompressionBombError)
        try:
            self._image = pillow.open(path)
            self._size, self._mode = self._image.size, self._image.mode
            first = np.asarray(self._image)
            self.shape = (int(getattr(self._image, "n_frames", 1)), *first.shape)
            self.dtype = np.dtype(np.uint8) if first.dtype.kind == "b" else first.dtype
        except self._errors as error:
            raise DataError.at(
                path, f"cannot be read as a TIFF file: {error}", remedy="copy or save it again"
            ) from None

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        pages = np.empty((stop - start, *self.shape[1:]), self.dtype.newbyteorder("="))
        for row in range(start, stop):
            try:
                self._image.seek(row)
                if (self._image.size, self._image.mode) != (self._size, self._mode):
                    raise ValueError("it differs in size or type from the first page")
                pages[row - start] = np.asarray(self._image)
            except self._errors as error:
                raise DataError.at(f"{self.name}: page {row}", f"cannot be read: {error}") from None
        return pages

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return None

    def close(self) -> None:
        """See :class:`Column`."""
        self._image.close()


def open_stack(path: Path, options: PackOptions) -> Source:
    """Open a multi-page TIFF file.

    Raises:
        DataError: it cannot be read, or ``--targets`` names no stack of masks and no npy file.
    """
    if options.trained_on is not None:
        return unlabeled(path, "TIFF stack", PageColumn(path), options, [path.absolute()])
    targets = Path(options.targets or "")
    targets = targets if targets.is_file() else path.parent / targets
    if not (targets.is_file() and targets.name.lower().endswith((*_SUFFIXES, ".npy"))):
        raise DataError.at(
            path,
            "needs targets for its pages",
            value=options.targets,
            allowed="a TIFF file of masks, or an npy file with one label per page",
            remedy="use `--targets FILE`; if the file is one sample, specify the folder with all of them",
        )
    column: Column = MappedColumn(targets) if targets.suffix.lower() == ".npy" else PageColumn(targets)
    files = [path.absolute(), targets.absolute()]
    return PairedSource(path, "TIFF stack", {"": (PageColumn(path), column)}, options, files)


FORMAT = Format(".tif with `--targets masks.tif`", lambda place: place.is_file(*_SUFFIXES), open_stack)
