"""Eight Gaussians on a circle: does a generative model cover all modes of the data?

L. Metz, B. Poole, D. Pfau and J. Sohl-Dickstein, Unrolled Generative Adversarial Networks, 2017,
arXiv:1611.02163. The mode of each point is stored as its class: with ``data.task: classification``,
a model learns to predict it.
"""

from __future__ import annotations

import math
from pathlib import Path

from hpc_dl.data.sources import Source
from hpc_dl.data.sources._mixture import write_mixture

_RADIUS, _STD, _NUM_MODES = 2.0, 0.02, 8


def _make(path: Path, given: Path | None) -> None:
    SOURCE.refuse_file(given)
    angles = [2 * math.pi * mode / _NUM_MODES for mode in range(_NUM_MODES)]
    centers = [(_RADIUS * math.cos(angle), _RADIUS * math.sin(angle)) for angle in angles]
    write_mixture(path, SOURCE, centers, _STD, {"train": 20_000, "val": 2_000, "test": 2_000})


SOURCE = Source(
    name="ring",
    title="Points of eight narrow Gaussians on a circle",
    task="generation",
    size="24,000 points in the plane, 8 modes",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
