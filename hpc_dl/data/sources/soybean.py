"""Soybean: 19 diseases of 683 plants from 35 observations, of which one in ten is missing.

R. S. Michalski and R. L. Chilausky, Learning by being told and learning from examples, 1980; UCI
Machine Learning Repository, Soybean (Large), https://doi.org/10.24432/C5JG6Z (CC BY 4.0 by UCI's
donation policy; mlbench's GPL-2 stands in its DESCRIPTION).

Features: numbers of the 35 attributes' values, in the order of the file (date, plant stand,
    precipitation,
temperature, hail, …, roots). 2,337 are missing: NaN, to be imputed. They are not missing at random:
all of them belong to 121 plants of five diseases.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "r-cran-mlbench"
_SHA256 = "88243ff4677a6965f473182a5df50e5ddf51458ed8e6ec499d12f226847e463f"  # of the values


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, obtain
    from hpc_dl.data.sources._rdata import read_rdata
    from hpc_dl.data.sources._tables import expect, write_table

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"deb:{_PACKAGE}", Path(scratch), given)
        file = find_file(folder, "Soybean.rda")
        columns = read_rdata(file)["Soybean"]
    diseases, labels = np.unique(columns.pop("Class"), return_inverse=True)
    inputs = np.stack([np.where(column == "", "nan", column) for column in columns.values()], axis=1).astype(np.float32)
    expect(file, _SHA256, inputs, labels.astype(np.uint8))
    write_table(
        path,
        SOURCE,
        inputs,
        labels,
        url="https://doi.org/10.24432/C5JG6Z",
        provenance=f"Soybean.rda, {origin}",
        class_names=[str(disease) for disease in diseases],
    )


SOURCE = Source(
    name="soybean",
    title="Diseases of soybeans from observations, many of them missing (Michalski and Chilausky, 1980)",
    task="classification",
    size="683 vectors of 35 with 2,337 values missing, 19 classes",
    license="CC-BY-4.0 AND GPL-2.0-only",
    shared="unknown",  # which plants grew in the same field
    fetched=f"Debian package {_PACKAGE}, 1 MB",
    make=_make,
)
