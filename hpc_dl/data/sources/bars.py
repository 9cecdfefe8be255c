"""Bars: which of 16 lines are in an image of 8 × 8 pixels? Each image has several labels.

P. Földiák, Forming sparse representations by local anti-Hebbian learning, Biological Cybernetics
64, 1990. Generated: each of the 8 horizontal and 8 vertical bars is drawn with probability 1/8,
independently of the others; bars that cross do not add up. Unlike there, Gaussian noise is added.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_SIZE = 8
_SPLIT_SIZES = {"train": 4000, "val": 1000, "test": 2000}
_PROBABILITY = 1 / 8
_NOISE = 0.3
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.files.format import Samples

    SOURCE.refuse_file(given)
    random = np.random.RandomState(_SEED)  # NumPy promises the same numbers in all its versions
    splits = {}
    for split, size in _SPLIT_SIZES.items():
        labels = (random.random_sample((size, 2 * _SIZE)) < _PROBABILITY).astype(np.int64)
        rows, columns = labels[:, :_SIZE, None], labels[:, None, _SIZE:]
        drawn = np.maximum(rows, columns) + random.normal(0, _NOISE, (size, _SIZE, _SIZE))
        splits[split] = Samples(drawn[:, None].astype(np.float32), labels)
    SOURCE.write(
        path,
        splits,
        url="https://doi.org/10.1007/BF02331346",
        provenance=f"generated, NumPy's RandomState({_SEED}); Gaussian noise of standard deviation {_NOISE}",
        class_names=tuple(f"{kind} {number}" for kind in ("row", "column") for number in range(_SIZE)),
        input_units="1 on a bar, 0 beside it",
    )


SOURCE = Source(
    name="bars",
    title="Rows and columns that are drawn in an image, any number of them (after Földiák, 1990)",
    task="multilabel",
    size="7,000 images of 8 × 8, 16 labels",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
