"""Small data sets and files for the tests of hpc_dl.data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpc_dl.data.files.format import Samples

MakeFile = Callable[..., Path]


def samples(num_samples: int, seed: int = 0, shape: tuple[int, ...] = (1, 4, 4)) -> Samples:
    """Random bytes whose first value is the label, so that a wrong pairing shows."""
    generator = np.random.default_rng(seed)
    inputs = generator.integers(0, 256, (num_samples, *shape), np.uint8)
    targets = generator.integers(0, 3, num_samples)
    targets[:3] = range(3)[:num_samples]
    inputs.reshape(num_samples, -1)[:, 0] = targets
    return Samples(inputs, targets)
