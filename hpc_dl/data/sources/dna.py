"""DNA: is the middle of a stretch of 60 nucleotides a splice junction, and of which kind?

D. Michie, D. J. Spiegelhalter and C. C. Taylor, Machine Learning, Neural and Statistical
Classification, 1994 (StatLog), after G. Towell, M. Noordewier and J. Shavlik, UCI Machine Learning
Repository, Molecular Biology (Splice-junction Gene Sequences), https://doi.org/10.24432/C5M888 (CC
BY 4.0 by UCI's donation policy; mlbench's GPL-2 stands in its DESCRIPTION). StatLog's test set of
1,186 is kept; 400 of its 2,000 training samples become the validation split.

An input has three indicator channels for the 60 nucleotides: A is (1, 0, 0), C (0, 1, 0), G (0, 0,
1), T (0, 0, 0).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hpc_dl.data.sources import Source

_PACKAGE = "r-cran-mlbench"
_SHA256 = "901b61efd2d1e38e60840846c78c7b0a72df2dec63021a7148ad88ed1c7848ae"  # of the values
_CLASSES = {"ei": "exon to intron", "ie": "intron to exon", "n": "neither"}
_SPLIT_SIZES = {"train": 1600, "val": 400}
_SPLIT_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import write
    from hpc_dl.data.sources._fetch import find_file, obtain
    from hpc_dl.data.sources._rdata import read_rdata
    from hpc_dl.data.sources._tables import expect, with_official_test

    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as scratch:
        folder, origin = obtain(SOURCE.name, f"deb:{_PACKAGE}", Path(scratch), given)
        file = find_file(folder, "DNA.rda")
        columns = read_rdata(file)["DNA"]
    kind = columns.pop("Class")
    indicators = np.stack(list(columns.values()), axis=1).astype(np.uint8)  # (N, 60 × 3)
    inputs = np.ascontiguousarray(indicators.reshape(-1, 60, 3).swapaxes(1, 2))
    labels = np.searchsorted(list(_CLASSES), kind)
    expect(file, _SHA256, inputs, labels.astype(np.uint8))
    write(
        path,
        with_official_test(inputs, labels, _SPLIT_SIZES, _SPLIT_SEED),
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        url="https://doi.org/10.24432/C5M888",
        provenance=f"DNA.rda, {origin}; validation split of 400 training samples, stratified, seed {_SPLIT_SEED}",
        shared=SOURCE.shared,
        class_names=list(_CLASSES.values()),
        input_units="indicators of A, C and G",
    )


SOURCE = Source(
    name="dna",
    title="Splice junctions in stretches of 60 nucleotides (StatLog, 1994)",
    task="classification",
    size="3,186 series of 3 × 60, 3 classes",
    license="CC-BY-4.0 AND GPL-2.0-only",
    shared="subject",  # stretches of the same genes; 82 of the test samples are also among the 2,000
    fetched=f"Debian package {_PACKAGE}, 1 MB",
    make=_make,
)
