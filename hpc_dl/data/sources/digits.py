"""Optical recognition of handwritten digits: 1,797 images of 8 × 8 pixels, from scikit-learn.

Test set of E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine
Learning Repository, 1998, https://doi.org/10.24432/C50P49 (CC BY 4.0 by UCI's donation policy).
``digits.csv.gz`` is scikit-learn 1.9.1's; for its BSD 3-clause license see ``_scikit_learn.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from hpc_dl.data.files.format import Samples

_SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"  # of the decompressed text
_SPLIT_SIZES = {"train": 1077, "val": 360, "test": 360}


def splits_of(given: Path | None) -> tuple[dict[str, Samples], str]:
    """Return the images (N, 1, 8, 8) and digits of each split, and where they came from."""
    import numpy as np

    from hpc_dl.data.sources._scikit_learn import read_csv
    from hpc_dl.data.sources._splits import SPLIT_SEED, stratified_split

    values, origin = read_csv("digits", _SHA256, given)
    table = values.astype(np.uint8)  # 64 pixels and the digit
    splits = stratified_split(table[:, :64].reshape(-1, 1, 8, 8), table[:, 64], _SPLIT_SIZES)
    return splits, f"{origin}; stratified split, seed {SPLIT_SEED}"


def _make(path: Path, given: Path | None) -> None:
    splits, provenance = splits_of(given)
    SOURCE.write(
        path,
        splits,
        url="https://doi.org/10.24432/C50P49",
        provenance=provenance,
        class_names=[str(digit) for digit in range(10)],
        input_units="pixels set in a 4 × 4 block, 0 to 16",
    )


SOURCE = Source(
    name="digits",
    title="Handwritten digits of 13 people, 8 × 8 pixels (UCI, as shipped by scikit-learn)",
    task="classification",
    size="1,797 images of 1 × 8 × 8, 10 classes",
    license="CC-BY-4.0 AND BSD-3-Clause",
    shared="writer",  # the file does not say who wrote which digit
    fetched="nothing: ships with hpc_dl",
    make=_make,
)
