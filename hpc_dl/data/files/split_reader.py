"""Reading the samples of one split."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.fields import Field, Values, open_fields
from hpc_dl.data.files.splits import Part
from hpc_dl.data.order.batch_order import Blocks
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec

_PIECE_BYTES = 8 << 20
# A disk reads long pieces best; a window of few blocks would mix badly.
_BLOCK_BYTES = 128 << 10
_LEAST_IN_WINDOW = 16


class SplitReader:
    """Gives many samples of one split at once; opened at the first read of each process.

    A process that was forked or that got a pickled copy opens the file anew. One reader serves one
    thread.

    Attributes:
        spec: the data set.
    """

    def __init__(
        self,
        spec: DataSpec,
        part: Part,
        num_samples: int,
        *,
        seed: int = 0,
        threads: int = 1,
        window_mib: float = 16,
    ) -> None:
        """Read the samples of ``part``, given in the shapes that ``spec`` promises.

        Args:
            spec: the data set, as :func:`hpc_dl.data.files.data_file.open_data` found it.
            part: where in the file the split lies.
            num_samples: samples in the split.
            seed: of what is drawn at random for each sample, such as the place of a crop.
            threads: threads that decode chunks.
            window_mib: MiB of samples that are in memory at a time where chunks are decoded or
                blocks are shuffled.
        """
        self.spec = spec
        self._part = part
        self._num_samples = num_samples
        self._seed = seed
        self._threads = threads
        self._window_bytes = int(window_mib * 2**20)
        self._open_in: int | None = None  # process id
        self._fields: list[Field] = []
        self._specs = (*spec.inputs, *spec.targets)

    def __len__(self) -> int:
        """Samples in the split."""
        return self._num_samples

    @property
    def one_by_one(self) -> bool:
        """Whether any sample can be read here without others that lie beside it."""
        return all(field.rows.rows_together == 1 for field in self._opened())

    @property
    def stored_one_by_one(self) -> bool:
        """Whether any sample lies in the file by itself: the same on every machine, mapped or not."""
        return all(field.rows.layout.rows_alone or field.rows.rows_together == 1 for field in self._opened())

    @property
    def reading(self) -> str:
        """How the largest dataset is read, for people."""
        return self._largest.rows.reading

    @property
    def bytes_per_sample(self) -> int:
        """Bytes of a sample in memory, on average where they differ."""
        numbers = self._part.rows_at(np.linspace(0, self._num_samples - 1, min(self._num_samples, 64)).astype(np.intp))
        whole = sum(len(field.rows_of(numbers)) * field.rows.layout.row_bytes for field in self._opened())
        return max(1, whole // len(numbers))

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return max(1, self._window_bytes // self.bytes_per_sample)

    def blocks(self) -> Blocks:
        """The samples that lie together in the file: those of one or some chunks, or of some disk
        blocks.
        """
        field = self._largest
        in_sequence = self._part.rows is None and field.one_row
        return Blocks.of(
            self._num_samples,
            None if in_sequence else field.first_rows(self._part.rows_at(np.arange(self._num_samples))),
            rows_together=1 if field.rows.layout.rows_alone else field.rows.rows_together,
            least_samples=max(1, min(_BLOCK_BYTES, self._window_bytes // _LEAST_IN_WINDOW) // self.bytes_per_sample),
            window_samples=self.window_samples,
        )

    def read(self, samples: NDArray[np.intp], epoch: int | None = None) -> tuple[Values, ...]:
        """Read the samples with these numbers (0 to len - 1), in this order.

        Args:
            samples: their numbers.
            epoch: of training, where something is drawn at random for each epoch; None in
                evaluation.

        Returns:
            What each dataset of ``spec.inputs`` and then of ``spec.targets`` gives: an array (B,
            *shape), inputs as stored (``uint8`` stays ``uint8``), targets int64 for classes and
            float32 for values; or a ``Ragged``.

        Raises:
            DataError: the file has gone, or is not what it was.
        """
        numbers = self._part.rows_at(samples)
        return tuple(
            [_as_promised(field.take(numbers, epoch), spec) for field, spec in zip(self._opened(), self._specs)]  # noqa: B905
        )

    def expect(self, samples: NDArray[np.intp]) -> None:
        """Have the system read these samples from the disk while something else is done; returns at
        once.
        """
        numbers = self._part.rows_at(samples)
        for field in self._opened():
            field.rows.expect(field.rows_of(numbers))

    def load(self) -> None:
        """Have the system read all of it into its memory; for a thread of its own where that may
        take long.
        """
        with suppress(OSError):  # closed in the meantime
            for field in self._opened():
                field.rows.load()

    def pieces(self, samples: NDArray[np.intp]) -> Iterator[tuple[Values, ...]]:
        """These samples in pieces of about 8 MiB, for a pass over many of them."""
        step = max(1, _PIECE_BYTES // self.bytes_per_sample)
        for start in range(0, len(samples), step):
            yield self.read(samples[start : start + step])

    def close(self) -> None:
        """Close what this process has open; a later read opens it again."""
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
        numbers = self._part.rows_at(np.array([0, self._num_samples - 1]))
        return max(self._opened(), key=lambda field: len(field.rows_of(numbers)) * field.rows.layout.row_bytes)

    def _opened(self) -> Sequence[Field]:
        if self._open_in != os.getpid():
            self.close()
            self._fields = open_fields(self.spec, self._part, self._threads, self._seed)
            self._open_in = os.getpid()
        return self._fields


def _as_promised(values: Values, spec: FieldSpec) -> Values:
    """In the shape and type of the spec; a copy is made only where the type differs."""
    if isinstance(values, Ragged):
        return Ragged(_as_promised(values.values, spec), values.offsets)
    if spec.channels == "last":
        values = np.moveaxis(values, -1, 1)
    return values.reshape(len(values), *spec.shape).astype(spec.dtype, copy=False)
