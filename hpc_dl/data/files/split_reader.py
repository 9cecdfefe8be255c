"""A reader of the samples of one split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.fields import Field, Values, open_fields
from hpc_dl.data.files.splits import Split
from hpc_dl.data.order.batch_order import Blocks
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec

_PIECE_BYTES = 8 << 20
# Long reads are fastest on a disk, but a window of only a few blocks would shuffle poorly.
_BLOCK_BYTES = 128 << 10
_MIN_BLOCKS_IN_WINDOW = 16


class SplitReader:
    """Reads many samples of one split in one call; opens the file at the first read.

    A forked process, or one that receives a pickled copy, opens the file again. A reader serves one
    thread only.

    Attributes:
        spec: the data set.
    """

    def __init__(
        self,
        spec: DataSpec,
        split: Split,
        num_samples: int,
        *,
        seed: int = 0,
        threads: int = 1,
        window_mib: float = 16,
    ) -> None:
        """Prepare to read the samples of a split, in the shapes and types of ``spec``.

        Args:
            spec: the data set, from :func:`hpc_dl.data.files.data_file.open_data`.
            split: the place of the split in the file.
            num_samples: samples in the split.
            seed: seed of what is random per sample, such as the position of a crop.
            threads: number of threads that decode chunks.
            window_mib: MiB of samples in memory at a time if chunks are decoded or blocks are
                shuffled.
        """
        self.spec = spec
        self._split = split
        self._num_samples = num_samples
        self._seed = seed
        self._threads = threads
        self._window_bytes = int(window_mib * 2**20)
        self._open_in: int | None = None  # process id
        self._fields: list[Field] = []
        self._specs = (*spec.inputs, *spec.targets)

    def __len__(self) -> int:
        """Return the number of samples in the split."""
        return self._num_samples

    @property
    def place(self) -> str:
        """The first input dataset of the split, as errors name it: ``FILE:/dataset``."""
        return f"{self.spec.file}:{self._split.inputs[0]}"

    @property
    def one_by_one(self) -> bool:
        """Whether this process can read a sample without reading its neighbors."""
        return all(field.rows.rows_together == 1 for field in self._opened())

    @property
    def stored_one_by_one(self) -> bool:
        """Whether samples are stored separately: the same answer on every machine.

        Unlike :attr:`one_by_one` it does not depend on whether the file can be mapped here.
        """
        return all(field.rows.layout.rows_alone or field.rows.rows_together == 1 for field in self._opened())

    @property
    def reading(self) -> str:
        """How the largest dataset is read, for display."""
        return self._largest.rows.reading

    @property
    def bytes_per_sample(self) -> int:
        """The size of a sample in memory in bytes, an average if sizes differ."""
        numbers = self._split.dataset_indices(
            np.linspace(0, self._num_samples - 1, min(self._num_samples, 64)).astype(np.intp)
        )
        num_bytes = sum(len(field.rows_of(numbers)) * field.rows.layout.row_bytes for field in self._opened())
        return max(1, num_bytes // len(numbers))

    @property
    def window_samples(self) -> int:
        """The number of samples in a window."""
        return max(1, self._window_bytes // self.bytes_per_sample)

    def blocks(self) -> Blocks:
        """Return the blocks of samples that are stored together: in chunks, or in disk blocks."""
        field = self._largest
        in_sequence = self._split.rows is None and field.one_row
        return Blocks.of(
            self._num_samples,
            None if in_sequence else field.first_rows(self._split.dataset_indices(np.arange(self._num_samples))),
            rows_together=1 if field.rows.layout.rows_alone else field.rows.rows_together,
            min_samples=max(1, min(_BLOCK_BYTES, self._window_bytes // _MIN_BLOCKS_IN_WINDOW) // self.bytes_per_sample),
            window_samples=self.window_samples,
        )

    def read(self, samples: NDArray[np.intp], epoch: int | None = None) -> tuple[Values, ...]:
        """Read the samples with these numbers (0 to len - 1), in this order.

        Args:
            samples: their numbers.
            epoch: the training epoch, if anything is drawn at random per epoch; None in evaluation.

        Returns:
            One element per dataset of ``spec.inputs`` and then of ``spec.targets``: an array (B,
                *shape) or a ``Ragged``. Inputs keep their stored type (``uint8`` stays ``uint8``);
                targets are int64 for classes and float32 for values.

        Raises:
            DataError: the file is missing or was changed.
        """
        numbers = self._split.dataset_indices(samples)
        return tuple(
            [_as_specified(field.take(numbers, epoch), spec) for field, spec in zip(self._opened(), self._specs)]  # noqa: B905
        )

    def prefetch(self, samples: NDArray[np.intp]) -> None:
        """Ask the system to read these samples from disk in the background; returns at once."""
        numbers = self._split.dataset_indices(samples)
        for field in self._opened():
            field.rows.prefetch(field.rows_of(numbers))

    def preload(self) -> None:
        """Have the system read the whole split into its page cache; this may take long."""
        with suppress(OSError):  # the file was closed meanwhile
            for field in self._opened():
                field.rows.preload()

    def pieces(self, samples: NDArray[np.intp]) -> Iterator[tuple[Values, ...]]:
        """Yield these samples in pieces of about 8 MiB."""
        step = max(1, _PIECE_BYTES // self.bytes_per_sample)
        for start in range(0, len(samples), step):
            yield self.read(samples[start : start + step])

    def close(self) -> None:
        """Close what this process has open; the next read opens it again."""
        for field in self._fields:
            field.rows.close()
        self._fields, self._open_in = [], None

    def __enter__(self) -> SplitReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_fields": [], "_open_in": None}

    @property
    def _largest(self) -> Field:
        numbers = self._split.dataset_indices(np.array([0, self._num_samples - 1]))
        return max(self._opened(), key=lambda field: len(field.rows_of(numbers)) * field.rows.layout.row_bytes)

    def _opened(self) -> Sequence[Field]:
        if self._open_in != os.getpid():
            self.close()
            self._fields = open_fields(self.spec, self._split, self._threads, self._seed)
            self._open_in = os.getpid()
        return self._fields


def _as_specified(values: Values, spec: FieldSpec) -> Values:
    """Return values in the shape and type of the spec; copies only if the type differs."""
    if isinstance(values, Ragged):
        return Ragged(_as_specified(values.values, spec), values.offsets)
    if spec.channels == "last":
        values = np.moveaxis(values, -1, 1)
    return values.reshape(len(values), *spec.shape).astype(spec.dtype, copy=False)
