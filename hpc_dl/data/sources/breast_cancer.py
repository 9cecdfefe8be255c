"""Breast cancer in Wisconsin: 30 measurements of cell nuclei in needle aspirates of 569 patients.

W. N. Street, W. H. Wolberg and O. L. Mangasarian, Nuclear feature extraction for breast tumor
diagnosis, 1993; UCI Machine Learning Repository, Breast Cancer Wisconsin (Diagnostic),
https://doi.org/10.24432/C5DW2B (CC BY 4.0 by UCI's donation policy). For scikit-learn's license see
``_scikit_learn.py``.

Features, from fine-needle aspirates: mean, standard error and worst value of the radius, texture,
perimeter, area, smoothness, compactness, concavity, concave points, symmetry and fractal dimension.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "fed3eb72d0575ef6192293f5093c6e801b1476b577d0386bf4455504522172ed"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._scikit_learn import read_csv
    from hpc_dl.data.sources._tables import write_table

    table, origin = read_csv("breast_cancer", _SHA256, given)
    write_table(
        path,
        SOURCE,
        table[:, :-1].astype(np.float32),
        table[:, -1].astype(np.int64),
        url="https://doi.org/10.24432/C5DW2B",
        provenance=origin,
        class_names=("malignant", "benign"),
    )


SOURCE = Source(
    name="breast_cancer",
    title="Malignant or benign: measures of cell nuclei of 569 patients (Wisconsin, 1993)",
    task="classification",
    size="569 vectors of 30, 2 classes",
    license="CC-BY-4.0 AND BSD-3-Clause",
    shared="none",  # one sample per patient
    fetched="nothing: ships with hpc_dl",
    make=_make,
)
