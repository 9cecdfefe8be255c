"""Two spirals, wound into each other: a hard benchmark for networks with two inputs.

K. J. Lang and M. J. Witbrock, Learning to Tell Two Spirals Apart, Connectionist Models Summer
School 1988, with two turns instead of three. Generated: the radius of each spiral, 0 to 6.5, is
proportional to the angle; the second is the first turned by half a turn, and both have normal noise
of standard deviation 0.2.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_NUM_POINTS = 4000
_TURNS, _RADIUS, _NOISE = 2, 6.5, 0.2
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._tables import write_table

    SOURCE.refuse_file(given)
    generator = np.random.default_rng(_SEED)
    spiral = np.arange(_NUM_POINTS) % 2
    # The square root spreads the points evenly along the spiral.
    share = np.sqrt(generator.uniform(0, 1, _NUM_POINTS))
    angle = 2 * np.pi * _TURNS * share + np.pi * spiral
    points = _RADIUS * share[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    write_table(
        path,
        SOURCE,
        (points + generator.normal(0, _NOISE, points.shape)).astype(np.float32),
        spiral,
        url="https://www.cs.cmu.edu/afs/cs/project/ai-repository/ai/areas/neural/bench/cmu/",
        provenance=f"generated: {_TURNS} turns, radius {_RADIUS}, normal noise of {_NOISE}, seed {_SEED}",
        class_names=("first", "second"),
    )


SOURCE = Source(
    name="spirals",
    title="Two spirals, wound into each other (Lang and Witbrock, 1988)",
    task="classification",
    size="4,000 vectors of 2, 2 classes",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
