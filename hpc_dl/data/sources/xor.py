"""XOR: 1,000 points around the corners of a square; opposite corners have the same class.

A single layer cannot learn it (M. Minsky and S. Papert, Perceptrons, 1969): a line separates at
most three of the four corners correctly, an accuracy of 75% (chance is 50%). Generated: the
corners (0, 0), (0, 1), (1, 0), (1, 1) in turn, with normal noise of standard deviation 0.1.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_NUM_POINTS = 1000
_NOISE = 0.1
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._tables import write_table

    SOURCE.refuse_file(given)
    corner = np.arange(_NUM_POINTS) % 4
    corners = np.stack([corner // 2, corner % 2], axis=1)
    noise = np.random.default_rng(_SEED).normal(0, _NOISE, corners.shape)
    write_table(
        path,
        SOURCE,
        (corners + noise).astype(np.float32),
        corners[:, 0] ^ corners[:, 1],
        url="https://en.wikipedia.org/wiki/Exclusive_or",
        provenance=f"generated: normal noise of {_NOISE} around the corners, seed {_SEED}",
        class_names=("equal", "different"),
        strata=corner,
    )


SOURCE = Source(
    name="xor",
    title="Exclusive or with noise, which a single layer cannot learn (Minsky and Papert, 1969)",
    task="classification",
    size="1,000 vectors of 2, 2 classes",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
