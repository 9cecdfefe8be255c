"""An array in memory, read by rows: labels, and inputs of formats that cannot be read in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class ArrayColumn:
    """An array in memory; see :class:`hpc_dl.data.packing.paired.Column`."""

    rows_together = 1

    def __init__(self, name: str, values: NDArray[Any]) -> None:
        self.name, self._values = name, values
        self.shape, self.dtype = values.shape, values.dtype

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """See :class:`Column`."""
        return np.array(self._values[start:stop], self.dtype.newbyteorder("="))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Column`."""
        return np.asarray(self._values[rows])

    def close(self) -> None:
        """See :class:`Column`."""
