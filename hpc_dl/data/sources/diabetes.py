"""Diabetes: ten measurements of 442 patients, and the progression of the disease one year later.

B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, Least Angle Regression, Annals of Statistics
32, 2004. The values are the measured ones, not scaled; ``diabetes.csv.gz`` joins scikit-learn's two
files, with the target in the last column. Scikit-learn's description states no license of the data
(two of the authors ship them, scaled, in the R package lars under GPL-2). For scikit-learn's own
license see ``_scikit_learn.py``.

Features: age, sex (1 or 2), body mass index, mean blood pressure, and of the blood serum: total
cholesterol, LDL, HDL, ratio of total cholesterol to HDL, logarithm of the triglycerides, glucose.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "317ee155798359b8f3763500e5a9722026e2fab4d23303d82ce5695fdeb17619"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._scikit_learn import read_csv
    from hpc_dl.data.sources._tables import write_table

    table, origin = read_csv("diabetes", _SHA256, given)
    write_table(
        path,
        SOURCE,
        table[:, :-1].astype(np.float32),
        table[:, -1].astype(np.float32),
        url="https://www4.stat.ncsu.edu/~boos/var.select/diabetes.html",
        provenance=origin,
        target_units="progression of the disease in one year",
    )


SOURCE = Source(
    name="diabetes",
    title="Progress of diabetes within a year from ten measures (Efron et al., 2004)",
    task="regression",
    size="442 vectors of 10, one value",
    license="LicenseRef-unknown AND BSD-3-Clause",
    shared="none",  # one row per patient
    fetched="nothing: ships with hpc_dl",
    make=_make,
)
