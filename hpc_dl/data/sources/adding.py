"""The adding problem: find two marked numbers among a hundred, however far apart, and add them.

S. Hochreiter and J. Schmidhuber, Long Short-Term Memory, Neural Computation 9(8), 1997, in the
variant of M. Arjovsky, A. Shah and Y. Bengio, Unitary Evolution Recurrent Neural Networks, ICML
2016: the numbers are drawn from U(0, 1), and each half contains one mark. Always predicting 1 has a
mean squared error of 1/6, the variance of the sum.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from hpc_dl.data.files.format import Samples

_NUM_STEPS = 100
_SPLIT_SIZES = {"train": 20_000, "val": 1_000, "test": 2_000}
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    SOURCE.refuse_file(given)
    SOURCE.write(
        path,
        {split: _draw(size, stream) for stream, (split, size) in enumerate(_SPLIT_SIZES.items())},
        url="https://doi.org/10.1162/neco.1997.9.8.1735",
        provenance=f"computed by hpc_dl from seed {_SEED}",
        input_units="a number from 0 to 1; 1 where it is marked, else 0",
        target_units="sum of the marked numbers",
    )


def _draw(size: int, stream: int) -> Samples:
    """Draw the samples of one split, the same on every machine and with every version of NumPy."""
    import numpy as np

    from hpc_dl.data.files.format import Samples

    bits = np.random.Philox(key=np.array([_SEED, stream], np.uint64))
    # A float32 below 1 can hold 24 bits.
    numbers = (bits.random_raw(size * _NUM_STEPS) >> np.uint64(40)).astype(np.float32).reshape(size, -1) / 2**24
    half = _NUM_STEPS // 2
    marked = (bits.random_raw(size * 2) % np.uint64(half)).astype(np.intp).reshape(size, 2)
    marked[:, 1] += half
    marks = np.zeros_like(numbers)
    np.put_along_axis(marks, marked, 1, axis=1)
    sums = np.take_along_axis(numbers, marked, axis=1).sum(1, keepdims=True)
    return Samples(np.stack([numbers, marks], axis=1), sums)


SOURCE = Source(
    name="adding",
    title="Sums of two marked numbers among a hundred (Hochreiter and Schmidhuber, 1997)",
    task="regression",
    size="23,000 series of 2 × 100, one value",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
