"""The ring of eight Gaussians: counts, places, and the promise that the points stay the same."""

import math
from pathlib import Path

import h5py
import numpy as np

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec


def test_eight_modes_on_a_circle(tmp_path: Path) -> None:
    spec = open_spec(DataConfig(source="ring"), tmp_path)
    assert (spec.task, spec.input_shape, spec.targets) == ("generation", (2,), ())
    assert spec.sizes == {"train": 20_000, "val": 2_000, "test": 2_000}
    verify(spec.file)
    with h5py.File(spec.file) as file:
        for split in spec.sizes:
            points, labels = file[split]["inputs"][()], file[split]["targets"][()]
            assert len(set(np.bincount(labels, minlength=8))) == 1, "all modes are equally likely"
            modes = file[split]["modes"][()]
            np.testing.assert_allclose(np.hypot(*modes.T), 2, rtol=1e-6)
            np.testing.assert_allclose(modes[1], (math.sqrt(2), math.sqrt(2)), rtol=1e-6)
            rest = points - modes[labels]
            np.testing.assert_allclose(rest.std(0), 0.02, rtol=0.05)
            np.testing.assert_allclose(rest.mean(0), 0, atol=0.002)
        assert not np.intersect1d(file["train/inputs"][:, 0], file["test/inputs"][:, 0]).size > 20


def test_the_points_stay_the_same(tmp_path: Path) -> None:
    spec = open_spec(DataConfig(source="ring"), tmp_path)
    assert spec.checksum == "sha256:8a6f01b1e730bc0fd3b69dd95fc990bdb47a5ddea16e7745b45666a3096fe8f7"


def test_the_modes_can_be_learned_as_classes(tmp_path: Path) -> None:
    spec = open_spec(DataConfig(source="ring", task="classification"), tmp_path)
    assert (spec.task, spec.num_outputs, spec.targets[0].dtype) == ("classification", 8, "int64")
