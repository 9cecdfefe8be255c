"""The grid of twenty-five Gaussians: counts, places, and the promise that the points stay the same."""

from pathlib import Path

import h5py
import numpy as np

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec


def test_twenty_five_modes_on_a_grid(tmp_path: Path) -> None:
    spec = open_spec(DataConfig(source="grid"), tmp_path)
    assert (spec.task, spec.input_shape, spec.targets) == ("generation", (2,), ())
    assert spec.sizes == {"train": 25_000, "val": 2_500, "test": 2_500}
    assert spec.checksum == "sha256:b6d009da53102ece90cb07d2b139323ca29d241c82c03c49f32c3e44096890d5"
    verify(spec.file)
    with h5py.File(spec.file) as file:
        points, labels = file["train/inputs"][()], file["train/targets"][()]
        modes = file["train/modes"][()]
        assert set(np.bincount(labels)) == {1000}
        assert {tuple(mode) for mode in modes} == {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
        np.testing.assert_allclose((points - modes[labels]).std(0), 0.05, rtol=0.05)
        assert file["train/modes_std"][()].tolist() == [np.float32(0.05)] * 25
