"""Yeast: what are 2,417 genes for? Each belongs to several of 14 functional classes.

A. Elisseeff and J. Weston, A kernel method for multi-labelled classification, NIPS 2001, with
expression profiles and phylogenetic profiles of P. Pavlidis et al., 2001; as shipped by the R
package mlr (BSD-2-Clause, stated in its DESCRIPTION). No license of the data was found.

A gene has 1 to 11 labels, 4.2 on average. They are unbalanced: class 12 has 75% of the genes, class
14 has 1.4%. Features: 103 numbers without documented units. The file does not say which genes were
the authors' test set; here the split is random, with the same share of class 14 in each part.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "51eea6d5937cbe007104ecc6b9ca102ca366b40fff881e255094be61a7d7a601"  # of the values
_LABELS = 14


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._fetch import find_file, package_files
    from hpc_dl.data.sources._rdata import read_lazy_frame
    from hpc_dl.data.sources._tables import check_values, write_table

    with package_files(SOURCE.name, "deb:r-cran-mlr", given) as (folder, origin):
        file = find_file(folder, "Rdata.rdb")
        columns = read_lazy_frame(file, f"label{_LABELS}")
    labels = np.stack([columns.pop(f"label{number + 1}") for number in range(_LABELS)], axis=1).astype(np.int64)
    inputs = np.stack(list(columns.values()), axis=1).astype(np.float32)
    check_values(file, _SHA256, inputs, labels.astype(np.uint8))
    write_table(
        path,
        SOURCE,
        inputs,
        labels,
        url="https://papers.nips.cc/paper/2001/hash/39dcaf7a053dc372fbc391d4e6b5d693-Abstract.html",
        provenance=f"yeast.task in Rdata.rdb, {origin}",
        class_names=[f"class {number + 1}" for number in range(_LABELS)],
        strata=labels[:, -1],
    )


SOURCE = Source(
    name="yeast_functions",
    title="Functions of 2,417 genes of yeast, several for each (Elisseeff and Weston, 2001)",
    task="multilabel",
    size="2,417 vectors of 103, 14 labels",
    license="LicenseRef-unknown AND BSD-2-Clause",
    shared="unknown",  # related genes are not identified
    fetched="Debian package r-cran-mlr, 5 MB",
    make=_make,
)
