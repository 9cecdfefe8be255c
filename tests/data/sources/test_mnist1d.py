"""MNIST-1D: the numbers are those of the Python package mnist1d 0.0.2.post1, from which these here
were read off."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources.mnist1d import _generate
from hpc_dl.errors import DataError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources.ensure("mnist1d", tmp_path_factory.mktemp("mnist1d"))


def test_the_series_are_those_of_the_package() -> None:
    x, y = _generate()
    assert (x.shape, y.shape) == ((5000, 40), (5000,))
    np.testing.assert_allclose(x[0, :4], [-0.33200566736939, -0.47191036565572, -0.77869707629349, -1.00974082653670])
    np.testing.assert_allclose(x[4999, -3:], [0.65987564708908, 0.87773434975280, 1.19315183683528])
    assert y[:12].tolist() == [2, 6, 4, 5, 6, 6, 6, 0, 3, 1, 6, 9]
    # All of them at once: a sum that any two exchanged numbers would change.
    assert np.cos(np.arange(x.size)) @ x.ravel() == pytest.approx(445.71845196597, abs=1e-8)
    assert np.arange(1, 5001) @ y == 56588141


def test_it_has_3600_400_and_1000_series_of_ten_classes(file: Path) -> None:
    spec = open_spec(DataConfig(file=str(file)))
    assert (spec.input_shape, spec.num_outputs, spec.task) == ((1, 40), 10, "classification")
    assert (spec.input_kind, spec.sizes) == ("series", {"train": 3_600, "val": 400, "test": 1_000})
    verify(file)
    x, y = _generate()
    with h5py.File(file) as opened:
        assert opened.attrs["license"] == "Apache-2.0"
        np.testing.assert_array_equal(opened["test/inputs"][:, 0], x[4000:].astype(np.float32))
        np.testing.assert_array_equal(opened["test/targets"], y[4000:])
        learned = np.concatenate([opened["train/inputs"], opened["val/inputs"]])[:, 0]
        counts = [np.bincount(opened[f"{split}/targets"]) for split in ("train", "val")]
    # training and validation together are the package's training series, none twice
    order = [np.lexsort(part.T) for part in (learned, x[:4000].astype(np.float32))]
    np.testing.assert_array_equal(learned[order[0]], x[:4000].astype(np.float32)[order[1]])
    assert (counts[0] + counts[1]).tolist() == np.bincount(y[:4000]).tolist()
    assert np.abs(counts[1] - 0.1 * (counts[0] + counts[1])).max() <= 1


def test_it_takes_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not needed: mnist1d is computed.*[Ll]eave `--from` out"):
        sources.load("mnist1d").make(tmp_path / "out.h5", tmp_path)
    assert not (tmp_path / "out.h5").exists()
