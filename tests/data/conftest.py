"""Fixtures with small real files, for the tests of hpc_dl.data."""

from pathlib import Path

import h5py
import pytest

from hpc_dl.data.files.format import write
from tests.data.small_files import MakeFile, samples


@pytest.fixture
def own_file(tmp_path: Path) -> Path:
    """A file in our own format: 50 / 11 / 12 samples of 1 × 4 × 4 bytes in 3 classes."""
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
    """Creates a file in another format from datasets by path, with ``__`` for ``/``."""

    def make(name: str = "foreign.h5", **datasets: object) -> Path:
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, values in datasets.items():
                file[key.replace("__", "/")] = values
        return path

    return make
