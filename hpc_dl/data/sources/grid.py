"""Twenty-five Gaussians on a square grid: a harder mode-coverage test than ``ring``.

V. Dumoulin et al., Adversarially Learned Inference, 2017, arXiv:1606.00704. The mode of each point
is stored as its class: with ``data.task: classification``, a model learns to predict it.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from hpc_dl.data.sources import Source
from hpc_dl.data.sources._mixture import write_mixture

_COORDINATES, _STD = (-4.0, -2.0, 0.0, 2.0, 4.0), 0.05


def _make(path: Path, given: Path | None) -> None:
    SOURCE.refuse_file(given)
    centers = list(itertools.product(_COORDINATES, _COORDINATES))
    write_mixture(path, SOURCE, centers, _STD, {"train": 25_000, "val": 2_500, "test": 2_500})


SOURCE = Source(
    name="grid",
    title="Points of twenty-five narrow Gaussians on a square grid",
    task="generation",
    size="30,000 points in the plane, 25 modes",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
