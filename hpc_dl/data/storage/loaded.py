"""Rows that were all read at once: for labels and other small data that could not be mapped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.layout import Layout
from hpc_dl.data.storage.mapped import boxes


class LoadedRows:
    """Rows of an array in memory."""

    rows_together = 1
    reading = "in memory"

    def __init__(self, layout: Layout, rows: NDArray[Any]) -> None:
        """Give rows of ``rows``, which are those of the dataset."""
        self.layout = layout
        self._rows = rows

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        return self._rows.take(rows, axis=0)

    def take_boxes(self, rows: NDArray[np.intp], begins: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        return boxes(self._rows, rows, begins, size)

    def expect(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; they are there."""

    def load(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; it is there."""

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows = self._rows[:0].copy()
