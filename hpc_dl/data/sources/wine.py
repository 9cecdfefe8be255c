"""Wine: chemical analysis of 178 wines of three cultivators in the same region of Italy.

M. Forina et al., PARVUS, 1988; UCI Machine Learning Repository, Wine,
https://doi.org/10.24432/C5PC7J (CC BY 4.0 by UCI's donation policy). For scikit-learn's license see
``_scikit_learn.py``.

Features: alcohol, malic acid, ash, alcalinity of ash, magnesium, total phenols, flavanoids,
nonflavanoid phenols, proanthocyanins, color intensity, hue, OD280/OD315 of diluted wines, proline.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "10e8a802908b34f86e5da8ce962f3c806694bc98450a18f61851af59f324bede"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._scikit_learn import read_csv
    from hpc_dl.data.sources._tables import write_table

    table, origin = read_csv("wine", _SHA256, given)
    write_table(
        path,
        SOURCE,
        table[:, :-1].astype(np.float32),
        table[:, -1].astype(np.int64),
        url="https://doi.org/10.24432/C5PC7J",
        provenance=origin,
        class_names=("cultivator 1", "cultivator 2", "cultivator 3"),
    )


SOURCE = Source(
    name="wine",
    title="Three cultivators' wines by chemical analysis (Forina et al., 1988)",
    task="classification",
    size="178 vectors of 13, 3 classes",
    license="CC-BY-4.0 AND BSD-3-Clause",
    shared="unknown",  # wines of one year are not identified
    fetched="nothing: ships with hpc_dl",
    make=_make,
)
