"""Iris: length and width of the sepals and petals of 150 flowers of three species.

R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7, 1936;
UCI Machine Learning Repository, https://doi.org/10.24432/C56C76 (CC BY 4.0 by UCI's donation
policy), with its two wrong values corrected by scikit-learn; for scikit-learn's license see
``_scikit_learn.py``. Setosa is linearly separable from the others; versicolor and virginica are
not linearly separable from each other.

Features: sepal length, sepal width, petal length, petal width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449"


def write_flowers(
    path: Path, given: Path | None, source: Source, classes: Sequence[str], class_of: tuple[int, int, int]
) -> None:
    """Write the flowers, with classes derived from their species.

    Args:
        path: the file to write.
        given: the table to read instead of the one that ships with hpc_dl.
        source: the data set.
        classes: names of the classes.
        class_of: class number of setosa, of versicolor and of virginica.
    """
    import numpy as np

    from hpc_dl.data.sources._scikit_learn import read_csv
    from hpc_dl.data.sources._tables import write_table

    table, origin = read_csv("iris", _SHA256, given)
    write_table(
        path,
        source,
        table[:, :-1].astype(np.float32),
        np.array(class_of)[table[:, -1].astype(np.int64)],
        url="https://doi.org/10.24432/C56C76",
        provenance=origin,
        class_names=classes,
        input_units="cm",
    )


def _make(path: Path, given: Path | None) -> None:
    write_flowers(path, given, SOURCE, ("setosa", "versicolor", "virginica"), (0, 1, 2))


SOURCE = Source(
    name="iris",
    title="Flowers of three species of iris (Fisher, 1936)",
    task="classification",
    size="150 vectors of 4, 3 classes",
    license="CC-BY-4.0 AND BSD-3-Clause",
    shared="none",  # one flower per plant
    fetched="nothing: ships with hpc_dl",
    make=_make,
)
