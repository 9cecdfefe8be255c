"""Sources with one file for each sample: images in folders of classes, volumes."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples
from hpc_dl.data.packing.source import Source
from hpc_dl.errors import DataError, Fault

_NUM_LISTED = 10
_T = TypeVar("_T")
_S = TypeVar("_S")


class SingleFiles(Source):
    """One input file for each sample, decoded by threads: the decoders let go of Python's lock."""

    samples: list[Path]  #: the input file of each sample

    @abstractmethod
    def load(self, path: Path) -> NDArray[Any]:
        """The input of a file, as it will be stored."""

    @abstractmethod
    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """The targets of the samples from ``start`` to ``stop``."""

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        for begin in range(start, len(self.samples), self.rows_per_block):
            stop = min(begin + self.rows_per_block, len(self.samples))
            inputs = np.empty((stop - begin, *self.inputs.shape), self.inputs.dtype)
            for row, values in enumerate(in_threads(self.load, self.samples[begin:stop])):
                inputs[row] = values
            yield Samples(inputs, self.targets_of(begin, stop))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return np.stack(list(in_threads(self.load, [self.samples[row] for row in rows])))


def in_threads(function: Callable[[_T], _S], items: Iterable[_T]) -> Iterator[_S]:
    """The function's results in the order of the items, with few of them ahead in memory."""
    num_threads = len(os.sched_getaffinity(0))
    remaining = iter(items)
    with ThreadPoolExecutor(num_threads) as pool:
        running = [pool.submit(function, item) for item in islice(remaining, 4 * num_threads)]
        running.reverse()
        while running:
            yield running.pop().result()
            running[:0] = [pool.submit(function, item) for item in islice(remaining, 1)]


def together(faults: Sequence[Fault]) -> DataError:
    """One error of many faults, the first ones in full."""
    listed = list(faults[:_NUM_LISTED])
    if len(faults) > _NUM_LISTED:
        listed.append(Fault("and", f"{len(faults) - _NUM_LISTED} more files like these"))
    return DataError(*listed)


def files_below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """All files of these endings below a folder, hidden ones left out, in a fixed order."""
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [
            Path(parent, name) for name in names if not name.startswith(".") and name.lower().endswith(tuple(suffixes))
        ]
    return sorted(found)
