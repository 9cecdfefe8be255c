"""Penguins: the species of 344 penguins, from their size and sex; 19 values are missing.

K. B. Gorman, T. D. Williams and W. R. Fraser, Ecological sexual dimorphism and environmental
variability within a community of Antarctic penguins, PLoS ONE 9(3), 2014; A. Horst, A. Hill and K.
Gorman, palmerpenguins, 2020 (CC0 for the data according to the package's README).

Features: bill length and depth (mm), flipper length (mm), body mass (g), sex (0 female, 1 male).
Missing values are NaN, to be imputed. Island and year are omitted: they describe the sampling, not
the animal.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "palmerpenguins==0.1.6"
_SHA256 = "f204db2c753b0937caac3cb35258562c14f073e4bbc76be24b4c51ce22767a93"
_SPECIES = ("Adelie", "Chinstrap", "Gentoo")
_SIZES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
_NUMBERS = {"NA": "nan", "female": "0", "male": "1"}


def _make(path: Path, given: Path | None) -> None:
    import csv

    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, package_files, read_checked
    from hpc_dl.data.sources._tables import write_table

    with package_files(SOURCE.name, f"pypi:{_PACKAGE}", given) as (folder, origin):
        text = read_checked(find_file(folder, "penguins.csv"), _SHA256).decode("ascii")
    rows = list(csv.DictReader(text.splitlines()))
    inputs = [[float(_NUMBERS.get(row[name], row[name])) for name in (*_SIZES, "sex")] for row in rows]
    write_table(
        path,
        SOURCE,
        np.array(inputs, np.float32),
        np.array([_SPECIES.index(row["species"]) for row in rows]),
        url="https://allisonhorst.github.io/palmerpenguins/",
        provenance=f"penguins.csv, {origin}",
        class_names=_SPECIES,
        input_units="mm, mm, mm, g, 0 female or 1 male",
    )


SOURCE = Source(
    name="penguins",
    title="Three species of penguins by their size, with values missing (Gorman et al., 2014)",
    task="classification",
    size="344 vectors of 5 with 19 values missing, 3 classes",
    license="CC0-1.0",
    shared="unknown",  # nests have two birds; a bird may have been caught again in another year
    fetched=f"Python package {_PACKAGE}, 19 kB",
    make=_make,
)
