"""A disc inside of a ring: the classes are separated by a circle, which no line can do.

Three hidden units suffice: three half planes enclose the disc. Generated: distances from the center
of 0 to 0.8 and of 1.2 to 2, evenly over the areas, in any direction.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_NUM_POINTS = 2000
_DISC, _RING = (0.0, 0.8), (1.2, 2.0)
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._tables import write_table

    SOURCE.refuse_file(given)
    generator = np.random.default_rng(_SEED)
    label = np.arange(_NUM_POINTS) % 2
    least, most = np.array([_DISC, _RING])[label].T
    # Uniform in the squared radius is uniform over the area.
    radius = np.sqrt(generator.uniform(least**2, most**2))
    angle = generator.uniform(0, 2 * np.pi, _NUM_POINTS)
    write_table(
        path,
        SOURCE,
        (radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype(np.float32),
        label,
        url="https://en.wikipedia.org/wiki/Linear_separability",
        provenance=f"generated: radius {_DISC} and {_RING}, seed {_SEED}",
        class_names=("disc", "ring"),
    )


SOURCE = Source(
    name="circles",
    title="A disc inside of a ring, which no line separates",
    task="classification",
    size="2,000 vectors of 2, 2 classes",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
