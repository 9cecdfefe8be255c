"""Shuttle: what the radiators of a space shuttle do, from nine numbers; seven classes of 10 to
45,586 moments.

D. Michie, D. J. Spiegelhalter and C. C. Taylor, Machine Learning, Neural and Statistical
Classification, 1994 (StatLog), given by J. Catlett; UCI Machine Learning Repository, Statlog
(Shuttle), https://doi.org/10.24432/C5WS31 (CC BY 4.0 by UCI's donation policy; mlbench's GPL-2
stands in its DESCRIPTION).

The first 43,500 rows are StatLog's training set, the last 14,500 its test set, which is kept; 8,700
of the training set become the validation split. The rarest class, 10 of 58,000, has 5, 1 and 4
samples there: judge by ``balanced_accuracy``, for one who always says the most frequent class is
right for 79 %, and mind that one sample of the rarest weighs a quarter of its class in the test and
all of it in the validation.

Features: nine whole numbers without units; the first is the time, what the others measure is not
    told. They reach far
out: 98 % lie within a hundred of zero, a few beyond ten thousand.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "r-cran-mlbench"
_SHA256 = "f64557fc2075c5dda2d5f478d7281f45aa9bcee1ecb62bee9105cc6e73d6510f"  # of the values
_SPLIT_SIZES = {"train": 34_800, "val": 8_700}
_SPLIT_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import write
    from hpc_dl.data.sources._fetch import find_file, obtain
    from hpc_dl.data.sources._rdata import read_rdata
    from hpc_dl.data.sources._tables import expect, with_official_test

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"deb:{_PACKAGE}", Path(scratch), given)
        file = find_file(folder, "Shuttle.rda")
        columns = read_rdata(file)["Shuttle"]
    states, labels = np.unique(columns.pop("Class"), return_inverse=True)
    inputs = np.stack(list(columns.values()), axis=1).astype(np.float32)
    expect(file, _SHA256, inputs, labels.astype(np.uint8))
    write(
        path,
        with_official_test(inputs, labels, _SPLIT_SIZES, _SPLIT_SEED),
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://doi.org/10.24432/C5WS31",
        provenance=f"Shuttle.rda, {origin}; validation split of 8,700 training samples, stratified, seed {_SPLIT_SEED}",
        shared=SOURCE.shared,
        class_names=[str(state) for state in states],
    )


SOURCE = Source(
    name="shuttle",
    title="States of a space shuttle's radiators, the rarest in 10 of 58,000 moments (StatLog, 1994)",
    task="classification",
    size="58,000 vectors of 9, 7 classes of 10 to 45,586",
    license="CC-BY-4.0 AND GPL-2.0-only",
    shared="subject",  # moments of the same flights: StatLog shuffled what was in the order of time
    fetched=f"Debian package {_PACKAGE}, 1 MB",
    make=_make,
)
