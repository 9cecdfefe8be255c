"""Sources with one file per sample: images in class folders, volumes."""

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


class FilePerSample(Source):
    """One input file per sample, decoded by threads; the decoders release the GIL."""

    samples: list[Path]  #: the input file of each sample

    @abstractmethod
    def load(self, path: Path) -> NDArray[Any]:
        """Load the input from a file, as it will be stored."""

    @abstractmethod
    def targets_of(self, start: int, stop: int) -> NDArray[Any]:
        """Return the targets of the samples from ``start`` to ``stop``."""

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        for first in range(start, len(self.samples), self.rows_per_block):
            stop = min(first + self.rows_per_block, len(self.samples))
            inputs = np.empty((stop - first, *self.inputs.shape), self.inputs.dtype)
            for row, values in enumerate(map_in_threads(self.load, self.samples[first:stop])):
                inputs[row] = values
            yield Samples(inputs, self.targets_of(first, stop))

    def names(self, start: int, stop: int) -> list[str]:
        """See :class:`Source`: the paths of the files in the folder."""
        return [file.relative_to(self.path).as_posix() for file in self.samples[start:stop]]

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Source`."""
        return np.stack(list(map_in_threads(self.load, [self.samples[row] for row in rows])))


def map_in_threads(function: Callable[[_T], _S], items: Iterable[_T]) -> Iterator[_S]:
    """Apply a function in threads; yield the results in order, computing only a few ahead."""
    num_threads = len(os.sched_getaffinity(0))
    remaining = iter(items)
    with ThreadPoolExecutor(num_threads) as pool:
        running = [pool.submit(function, item) for item in islice(remaining, 4 * num_threads)]
        running.reverse()
        while running:
            yield running.pop().result()
            running[:0] = [pool.submit(function, item) for item in islice(remaining, 1)]


def first_faults(faults: Sequence[Fault]) -> DataError:
    """Return one error with the first of many faults, and the number of the others."""
    listed = list(faults[:_NUM_LISTED])
    if len(faults) > _NUM_LISTED:
        listed.append(Fault("and", f"{len(faults) - _NUM_LISTED} more files with such problems"))
    return DataError(*listed)


def files_below(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Return all files below a folder with one of these suffixes, sorted, without hidden files.

    Raises:
        DataError: a link leads back to a folder above it.
    """
    endings = tuple(suffixes)
    return sorted(file for file in regular_files(folder) if file.name.lower().endswith(endings))


def regular_files(folder: Path) -> Iterator[Path]:
    """Yield all regular files below a folder, without hidden ones; links are followed.

    Links that lead nowhere are among them.

    Raises:
        DataError: a link leads back to a folder above it, or a folder cannot be read.
    """
    yield from _regular_files(folder, {os.path.realpath(folder)})


def _regular_files(folder: Path, above: set[str]) -> Iterator[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise DataError.at(folder, f"is a folder that cannot be read: {error.strerror}") from None
    for name in names:
        path = folder / name
        if name.startswith("."):
            continue
        if os.path.isdir(path):
            real = os.path.realpath(path)
            if real in above:
                raise DataError.at(path, "is a link to a folder above it", value=real, remedy="remove the link")
            yield from _regular_files(path, above | {real})
        # A pipe or a device may never end. A link that leads nowhere is a sample that is missing:
        # its reader names it, instead of packing the others only.
        elif os.path.isfile(path) or not os.path.exists(path):
            yield path
