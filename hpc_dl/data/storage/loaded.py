"""Rows held in memory: labels and other small data that cannot be mapped."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.storage.layout import Layout
from hpc_dl.data.storage.mapped import crops


class LoadedRows:
    """Rows of an array in memory."""

    rows_together = 1
    reading = "in memory"

    def __init__(self, layout: Layout, rows: NDArray[Any]) -> None:
        """Serve rows of the array ``rows``, the whole dataset."""
        self.layout = layout
        self._rows = rows

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        return self._rows.take(rows, axis=0)

    def take_crops(self, rows: NDArray[np.intp], starts: NDArray[np.intp], size: tuple[int, ...]) -> NDArray[Any]:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        return crops(self._rows, rows, starts, size)

    def prefetch(self, rows: NDArray[np.intp]) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; nothing to do."""

    def preload(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`; nothing to do."""

    def close(self) -> None:
        """See :class:`hpc_dl.data.storage.rows.RowReader`."""
        self._rows = self._rows[:0].copy()
