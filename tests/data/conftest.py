"""Small real files for the tests of the data room."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.files.format import Samples, write

MakeFile = Callable[..., Path]


def samples(num_samples: int, seed: int = 0, shape: tuple[int, ...] = (1, 4, 4)) -> Samples:
    """Random bytes; the first value of each input is its label, so that a wrong pairing shows."""
    generator = np.random.default_rng(seed)
    inputs = generator.integers(0, 256, (num_samples, *shape), np.uint8)
    targets = generator.integers(0, 3, num_samples)
    targets[:3] = range(3)[:num_samples]
    inputs.reshape(num_samples, -1)[:, 0] = targets
    return Samples(inputs, targets)


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """A file of our own format: 50 / 11 / 12 samples of 1 × 4 × 4 bytes in 3 classes."""
    path = tmp_path / "own.h5"
    write(
        path,
        {"train": samples(50), "val": samples(11, 1), "test": samples(12, 2)},
        source="own",
        task="classification",
        license="CC0-1.0",
        class_names=["a", "b", "c"],
    )
    return path


@pytest.fixture
def foreign_file(tmp_path: Path) -> MakeFile:
    """Builds a file of other origin from datasets by path."""

    def make(name: str = "foreign.h5", **datasets: object) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, values in datasets.items():
                file[key.replace("__", "/")] = values
        return path

    return make
