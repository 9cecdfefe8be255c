"""Shuttle: the state of a space shuttle's radiators; seven classes of 10 to 45,586 samples.

D. Michie, D. J. Spiegelhalter and C. C. Taylor, Machine Learning, Neural and Statistical
Classification, 1994 (StatLog), donated by J. Catlett; UCI Machine Learning Repository, Statlog
(Shuttle), https://doi.org/10.24432/C5WS31 (CC BY 4.0 by UCI's donation policy; mlbench's GPL-2 is
stated in its DESCRIPTION).

Splits: the first 43,500 rows are StatLog's training set, the last 14,500 its test set, which is
kept; 8,700 of the training set become the validation split. The rarest class, 10 of 58,000 samples,
has 5, 1 and 4 samples in the splits. Use ``balanced_accuracy``: always predicting the most frequent
class has an accuracy of 79%. One sample of the rarest class is a quarter of its class in the test
split, and all of it in the validation split.

Features: nine integers without units. The first is the time; what the others measure is not
documented. They have outliers: 98% are within ±100, a few are beyond ten thousand.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "f64557fc2075c5dda2d5f478d7281f45aa9bcee1ecb62bee9105cc6e73d6510f"  # of the values
_SPLIT_SIZES = {"train": 34_800, "val": 8_700}


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._mlbench import read_mlbench
    from hpc_dl.data.sources._splits import SPLIT_SEED, with_official_test
    from hpc_dl.data.sources._tables import check_values

    columns, file, origin = read_mlbench(SOURCE, "Shuttle", given)
    states, labels = np.unique(columns.pop("Class"), return_inverse=True)
    inputs = np.stack(list(columns.values()), axis=1).astype(np.float32)
    check_values(file, _SHA256, inputs, labels.astype(np.uint8))
    SOURCE.write(
        path,
        with_official_test(inputs, labels, _SPLIT_SIZES),
        url="https://doi.org/10.24432/C5WS31",
        provenance=f"Shuttle.rda, {origin}; validation split of 8,700 training samples, stratified, seed {SPLIT_SEED}",
        class_names=[str(state) for state in states],
    )


SOURCE = Source(
    name="shuttle",
    title="States of a space shuttle's radiators, the rarest in 10 of 58,000 moments (StatLog, 1994)",
    task="classification",
    size="58,000 vectors of 9, 7 classes of 10 to 45,586",
    license="CC-BY-4.0 AND GPL-2.0-only",
    shared="subject",  # the same flights are in all splits: StatLog shuffled the time series
    fetched="Debian package r-cran-mlbench, 1 MB",
    make=_make,
)
