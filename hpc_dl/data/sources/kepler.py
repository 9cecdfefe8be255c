"""Kepler's third law: the period of a planet from the size of its orbit.

J. Kepler, Harmonices Mundi, 1619: the square of the period grows as the cube of the semi-major
axis. Input and target are decimal logarithms, so that the law is a line of slope 3/2. Generated:
axes from 0.1 to 100 astronomical units, masses of the star from 0.9 to 1.1 Suns, which are not
among the inputs, and so limit what can be learned.
"""

from __future__ import annotations

from pathlib import Path

from hpc_dl.data.sources import Source

_NUM_PLANETS = 1000
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.sources._tables import write_table

    SOURCE.refuse_file(given)
    generator = np.random.default_rng(_SEED)
    axis = generator.uniform(-1, 2, (_NUM_PLANETS, 1))
    mass = generator.uniform(0.9, 1.1, _NUM_PLANETS)
    write_table(
        path,
        SOURCE,
        axis.astype(np.float32),
        (1.5 * axis[:, 0] - 0.5 * np.log10(mass)).astype(np.float32),
        url="https://en.wikipedia.org/wiki/Kepler%27s_laws_of_planetary_motion",
        provenance=f"generated: P² = a³ / M, seed {_SEED}",
        input_units="log10 of the semi-major axis in astronomical units",
        target_units="log10 of the period in years",
    )


SOURCE = Source(
    name="kepler",
    title="Periods of generated planets from the size of their orbits (Kepler, 1619)",
    task="regression",
    size="1,000 numbers, one value",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
