"""One multi-page TIFF whose pages are samples, and a stack of masks or a table of labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.array_column import ArrayColumn
from hpc_dl.data.packing.classes import labels_or_values
from hpc_dl.data.packing.column_choice import TARGET_NAMES, target_columns
from hpc_dl.data.packing.damaged import DAMAGED
from hpc_dl.data.packing.formats import Format
from hpc_dl.data.packing.formats.arrays import MappedColumn
from hpc_dl.data.packing.label_table import read_rows
from hpc_dl.data.packing.paired import Column, PairedSource
from hpc_dl.data.packing.pillow_images import GRAY, check_range, has_deep_colors
from hpc_dl.data.packing.source import PackOptions, Source, require
from hpc_dl.data.packing.table_columns import is_missing
from hpc_dl.data.packing.unlabeled import unlabeled
from hpc_dl.errors import DataError

_SUFFIXES = (".tif", ".tiff")


class PageColumn:
    """The pages of a TIFF file, all of one size and type.

    Args:
        path: the file.
        is_mask: whether the numbers of a palette are classes; else they stand for colors.
    """

    rows_together = 1

    def __init__(self, path: Path, *, is_mask: bool = False) -> None:
        self.name = str(path)
        pillow = require("PIL.Image", "Pillow", self.name)
        self._errors = (*DAMAGED, pillow.DecompressionBombError)
        try:
            self._image = pillow.open(path)
            self._image.filename = ""  # see `opened()`
            self._size, self._mode = self._image.size, self._image.mode
            if has_deep_colors(self._image):
                raise ValueError("it has colors of 16 bits, which Pillow cuts to 8")
            self._as_rgb = self._mode not in GRAY and not is_mask
            first = self._pixels()
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
                pages[row - start] = self._pixels()
            except self._errors as error:
                raise DataError.at(f"{self.name}: page {row}", f"cannot be read: {error}") from None
        return pages

    def _pixels(self) -> NDArray[Any]:
        check_range(self._image)
        return np.asarray(self._image.convert("RGB") if self._as_rgb else self._image)

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
    if not (targets.is_file() and targets.name.lower().endswith((*_SUFFIXES, ".npy", ".csv", ".tsv"))):
        raise DataError.at(
            path,
            "needs targets for its pages",
            value=options.targets,
            allowed="a TIFF file of masks, or an npy, csv or tsv file with one label per page",
            remedy="use `--targets FILE`; if the file is one sample, specify the folder with all of them",
        )
    pages = PageColumn(path)
    column: Column
    if targets.suffix.lower() == ".npy":
        column = MappedColumn(targets)
    elif targets.suffix.lower() in _SUFFIXES:
        column = PageColumn(targets, is_mask=True)
    else:
        column = ArrayColumn(str(targets), _page_labels(targets, options))
    if len(pages.shape) == 4 and options.channels == "auto":
        options = replace(options, channels="last")  # colors
    files = [path.absolute(), targets.absolute()]
    return PairedSource(path, "TIFF stack", {"": (pages, column)}, options, files)


def _page_labels(table: Path, options: PackOptions) -> NDArray[Any]:
    """Return the labels or values of all pages, from a table with one line for each page."""
    rows = read_rows(table)
    names = [cell.lower() for cell in rows[0][1]]
    is_list = len(names) == 1 and names[0] not in TARGET_NAMES
    column = 0 if is_list else names.index(target_columns(table, names, None)[0])
    rows = rows if is_list else rows[1:]
    if short := [number for number, row in rows if len(row) <= column or is_missing(row[column])]:
        raise DataError.at(f"{table}: line {short[0]}", "has no label", remedy="fill it in")
    pages = [row[names.index("page")] for _, row in rows] if "page" in names else []
    if pages and pages not in ([str(page + first) for page in range(len(pages))] for first in (0, 1)):
        raise DataError.at(table, "does not list the pages in their order", remedy="sort it by the column page")
    texts = [row[column] for _, row in rows]
    task, values, _ = labels_or_values(texts, options, str(table))
    return values if task == "regression" else np.array(texts, object)


FORMAT = Format(".tif with `--targets masks.tif`", lambda place: place.is_file(*_SUFFIXES), open_stack)
