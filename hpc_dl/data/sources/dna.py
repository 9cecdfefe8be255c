"""DNA: is the middle of a sequence of 60 nucleotides a splice junction, and of which kind?

D. Michie, D. J. Spiegelhalter and C. C. Taylor, Machine Learning, Neural and Statistical
Classification, 1994 (StatLog), after G. Towell, M. Noordewier and J. Shavlik, UCI Machine Learning
Repository, Molecular Biology (Splice-junction Gene Sequences), https://doi.org/10.24432/C5M888 (CC
BY 4.0 by UCI's donation policy; mlbench's GPL-2 is stated in its DESCRIPTION). StatLog's test set
of 1,186 is kept; 400 of its 2,000 training samples become the validation split.

An input has three indicator channels for the 60 nucleotides: A is (1, 0, 0), C (0, 1, 0), G (0, 0,
1), T (0, 0, 0).
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SHA256 = "901b61efd2d1e38e60840846c78c7b0a72df2dec63021a7148ad88ed1c7848ae"  # of the values
_CLASSES = {"ei": "exon to intron", "ie": "intron to exon", "n": "neither"}
_SPLIT_SIZES = {"train": 1600, "val": 400}


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._mlbench import read_mlbench
    from hpc_dl.data.sources._splits import SPLIT_SEED, with_official_test
    from hpc_dl.data.sources._tables import check_values

    columns, file, origin = read_mlbench(SOURCE, "DNA", given)
    labels = np.searchsorted(list(_CLASSES), columns.pop("Class"))
    indicators = np.stack(list(columns.values()), axis=1).astype(np.uint8)  # (N, 60 × 3)
    inputs = np.ascontiguousarray(indicators.reshape(-1, 60, 3).swapaxes(1, 2))
    check_values(file, _SHA256, inputs, labels.astype(np.uint8))
    SOURCE.write(
        path,
        with_official_test(inputs, labels, _SPLIT_SIZES),
        url="https://doi.org/10.24432/C5M888",
        provenance=f"DNA.rda, {origin}; validation split of 400 training samples, stratified, seed {SPLIT_SEED}",
        class_names=list(_CLASSES.values()),
        input_units="indicators of A, C and G",
    )


SOURCE = Source(
    name="dna",
    title="Splice junctions in stretches of 60 nucleotides (StatLog, 1994)",
    task="classification",
    size="3,186 series of 3 × 60, 3 classes",
    license="CC-BY-4.0 AND GPL-2.0-only",
    shared="subject",  # sequences of the same genes; 82 test samples are also among the 2,000
    fetched="Debian package r-cran-mlbench, 1 MB",
    make=_make,
)
