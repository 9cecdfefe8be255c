"""Iris setosa against two other species: 150 flowers in two classes that a plane separates.

The data of ``iris``, R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7, 1936:
what a perceptron learns without a mistake.

Features: sepal length, sepal width, petal length, petal width.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "f13ffa8fdd56fd8e6c8d16d4081a3fbd3114bcd0aae4256c43205169cd9d1449"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._scikit_learn import read_csv
    from hpc_dl.data.sources._tables import write_table

    table, origin = read_csv("iris", _SHA256, given)
    write_table(
        path,
        SOURCE,
        table[:, :-1].astype(np.float32),
        (table[:, -1] == 0).astype(np.int64),
        url="https://doi.org/10.24432/C56C76",
        provenance=origin,
        class_names=("other", "setosa"),
        input_units="cm",
    )


SOURCE = Source(
    name="iris_setosa",
    title="Iris setosa or another iris: two classes that a plane separates (Fisher, 1936)",
    task="classification",
    size="150 vectors of 4, 2 classes",
    licence="CC-BY-4.0 AND BSD-3-Clause",
    shared="none",  # one flower of each plant
    fetched="comes with hpc_dl",
    make=_make,
)
