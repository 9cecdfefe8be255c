"""Files that must be converted first: the message shows how."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.errors import DataError

X, Y = np.zeros((20, 4)), np.arange(20) % 2
FRACTIONS = {"fractions": {}}


def rejects(path: Path, splits: dict[str, object], *parts: str) -> None:
    with pytest.raises(DataError) as caught:
        open_data(path, DataConfig(file=str(path), splits=splits))
    assert len(caught.value.faults) == 1
    for part in parts:
        assert part in str(caught.value)


def test_matlab_file_is_recognized(tmp_path: Path) -> None:
    path = tmp_path / "m.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in {"inputs": X.T, "targets": Y[None] + 1.0}.items():
            file.create_dataset(name, data=values).attrs["MATLAB_class"] = np.bytes_("double")
    command = "`hpc-dl data pack m.mat m-packed.h5 --inputs inputs --targets targets`"
    rejects(path, FRACTIONS, f"{path}:/inputs: was written by MATLAB", "got (4, 20); allowed: (20, 4)", command)


def test_reversed_axes_are_recognized(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["inputs"], file["targets"] = np.zeros((12, 20)), Y
    rejects(tmp_path / "r.h5", FRACTIONS, "has 20 targets for 12 inputs", "The axes of the inputs look reversed")


@pytest.mark.parametrize(
    "names", [("X_train", "y_train", "X_test", "y_test"), ("train_x", "train_y", "test_x", "test_y")]
)
def test_splits_in_the_names_of_datasets_are_recognized(tmp_path: Path, names: tuple[str, ...]) -> None:
    with h5py.File(tmp_path / "n.h5", "w") as file:
        for name in names:
            file[name] = X if "x" in name.lower() else Y
    rejects(tmp_path / "n.h5", {}, "/train: does not exist", "`hpc-dl data pack n.h5 n-packed.h5`")
