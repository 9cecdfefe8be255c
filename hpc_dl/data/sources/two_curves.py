"""Two curves, one above the other: a hidden layer bends the plane until a line separates them.

C. Olah, Neural Networks, Manifolds, and Topology, 2014. Generated: y = 0.6·cos(πx) ± 0.3 for x from
-1 to 1, without noise.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_NUM_POINTS = 1000
_HEIGHT, _DISTANCE = 0.6, 0.6
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._tables import write_table

    SOURCE.refuse_file(given)
    label = np.arange(_NUM_POINTS) % 2
    x = np.random.default_rng(_SEED).uniform(-1, 1, _NUM_POINTS)
    y = _HEIGHT * np.cos(np.pi * x) + _DISTANCE * (label - 0.5)
    write_table(
        path,
        SOURCE,
        np.stack([x, y], axis=1).astype(np.float32),
        label,
        url="https://colah.github.io/posts/2014-03-NN-Manifolds-Topology/",
        provenance=f"generated: y = {_HEIGHT} cos(pi x) -+ {_DISTANCE / 2}, seed {_SEED}",
        class_names=("lower", "upper"),
    )


SOURCE = Source(
    name="two_curves",
    title="Two curves, one above the other, which no line separates (Olah, 2014)",
    task="classification",
    size="1,000 vectors of 2, 2 classes",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
