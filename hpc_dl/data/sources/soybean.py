"""Soybean: 19 diseases of 683 plants, from 35 observations, of which one in ten is missing.

R. S. Michalski and R. L. Chilausky, Learning by being told and learning from examples, 1980; UCI
Machine Learning Repository, Soybean (Large), https://doi.org/10.24432/C5JG6Z (CC BY 4.0 by UCI's
donation policy; mlbench's GPL-2 is stated in its DESCRIPTION).

Features: numeric codes of the 35 attributes, in the order of the file (date, plant stand,
precipitation, temperature, hail, …, roots). 2,337 values are missing: NaN, to be imputed. They are
not missing at random: all of them belong to 121 plants with five diseases.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "88243ff4677a6965f473182a5df50e5ddf51458ed8e6ec499d12f226847e463f"  # of the values


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._mlbench import read_mlbench
    from hpc_dl.data.sources._tables import check_values, write_table

    columns, file, origin = read_mlbench(SOURCE, "Soybean", given)
    diseases, labels = np.unique(columns.pop("Class"), return_inverse=True)
    inputs = np.stack([np.where(column == "", "nan", column) for column in columns.values()], axis=1).astype(np.float32)
    check_values(file, _SHA256, inputs, labels.astype(np.uint8))
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
    shared="unknown",  # plants of one field are not identified
    fetched="Debian package r-cran-mlbench, 1 MB",
    make=_make,
)
