"""Reading the samples of one split."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.rows import RowReader, open_rows
from hpc_dl.data.spec import DataSpec
from hpc_dl.data.splits import Part

_BLOCK_BYTES = 8 << 20


class SplitReader:
    """Gives whole batches of one split; opened at the first read of each process.

    A process that was forked or that got a pickled copy opens the file anew: HDF5's handles and its locks must not be
    shared between processes. One reader serves one thread.
    """

    def __init__(self, spec: DataSpec, part: Part, num_samples: int) -> None:
        """Read the samples of ``part``, given in the shapes that ``spec`` promises.

        Args:
            spec: the data set, as :func:`hpc_dl.data.opening.open_data` found it.
            part: where in the file the split lies.
            num_samples: samples in the split.
        """
        self._spec = spec
        self._part = part
        self._num_samples = num_samples
        self._open_in: int | None = None  # process id
        self._inputs: RowReader
        self._targets: RowReader

    def __len__(self) -> int:
        """Samples in the split."""
        return self._num_samples

    def read(self, samples: NDArray[np.intp]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Read the samples with these numbers (0 to len - 1), in this order.

        Returns:
            The inputs (B, *spec.input_shape) as stored (``uint8`` stays ``uint8``), and the targets: class numbers
            (B,) as int64, or values (B, num_outputs) as float32.

        Raises:
            DataError: the file has gone, or is not what it was.
        """
        rows = self._part.rows_at(samples)
        inputs, targets = self._readers()
        return self._shaped(inputs.take(rows)), self._typed(targets.take(rows))

    def blocks(self, samples: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
        """The inputs of these samples in pieces of about 8 MiB, for a pass over many of them."""
        inputs, _ = self._readers()
        num_bytes = np.dtype(self._spec.input_dtype).itemsize * int(np.prod(self._spec.input_shape))
        step = max(1, _BLOCK_BYTES // max(1, num_bytes))
        for start in range(0, len(samples), step):
            yield self._shaped(inputs.take(self._part.rows_at(samples[start : start + step])))

    def close(self) -> None:
        """Close what this process has open; a later read opens it again."""
        if self._open_in is not None:
            # After a fork this closes only the copy that the child inherited, so that HDF5 really opens a new one.
            self._inputs.close()
            self._targets.close()
            del self._inputs, self._targets
            self._open_in = None

    def __enter__(self) -> SplitReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_inputs", "_targets")} | {
            "_open_in": None
        }

    def _readers(self) -> tuple[RowReader, RowReader]:
        if self._open_in != os.getpid():
            self.close()
            file = Path(self._spec.file)
            inputs = open_rows(file, self._part.inputs)
            try:
                targets = open_rows(file, self._part.targets)
            except BaseException:
                inputs.close()
                raise
            self._inputs, self._targets, self._open_in = inputs, targets, os.getpid()
        return self._inputs, self._targets

    def _shaped(self, inputs: NDArray[Any]) -> NDArray[Any]:
        """Channels first, as the spec says, whatever axis the file has them on; no copy is made."""
        if self._part.channels == "last":
            return np.moveaxis(inputs, -1, 1)
        return inputs.reshape(len(inputs), *self._spec.input_shape)

    def _typed(self, targets: NDArray[Any]) -> NDArray[Any]:
        if self._spec.task == "classification":
            return targets.reshape(-1).astype(np.int64, copy=False)
        return targets.reshape(len(targets), -1).astype(np.float32, copy=False)
