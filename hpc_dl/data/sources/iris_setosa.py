"""Iris setosa or another iris: 150 flowers in two linearly separable classes.

The data of ``iris``, R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals
of Eugenics 7, 1936, under the same licenses. A perceptron learns the classes without an error.

Features: sepal length, sepal width, petal length, petal width.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hpc_dl.data.sources import iris


def _make(path: Path, given: Path | None) -> None:
    iris.write_flowers(path, given, SOURCE, ("other", "setosa"), (1, 0, 0))


SOURCE = replace(
    iris.SOURCE,
    name="iris_setosa",
    title="Iris setosa or another iris: two classes that a plane separates (Fisher, 1936)",
    size="150 vectors of 4, 2 classes",
    make=_make,
)
