"""Twenty-five Gaussians on a square grid, the harder trial of whether a generator gives all of the
data's modes.

V. Dumoulin et al., Adversarially Learned Inference, 2017, arXiv:1606.00704. The number of a point's
mode is kept as its class: ``data.task: classification`` learns to tell them apart instead.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from hpc_dl.data.sources import Source
from hpc_dl.data.sources._mixture import write_mixture

_PLACES, _STD = (-4.0, -2.0, 0.0, 2.0, 4.0), 0.05


def _make(path: Path, given: Path | None) -> None:
    centers = list(itertools.product(_PLACES, _PLACES))
    write_mixture(path, SOURCE, centers, _STD, {"train": 25_000, "val": 2_500, "test": 2_500})


SOURCE = Source(
    name="grid",
    title="Points of twenty-five narrow Gaussians on a square grid",
    task="generation",
    size="30,000 points in the plane, 25 modes",
    license="CC0-1.0",
    shared="none",
    fetched="drawn by hpc_dl",
    make=_make,
)
