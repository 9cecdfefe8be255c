"""The average brain: what is in the file, and that the splits are apart."""

import hashlib
import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources import mni152
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("mni152", tmp_path_factory.mktemp("data"))


def test_shapes_and_classes(made: Path) -> None:
    spec = open_spec(DataConfig(file=str(made)))
    assert (spec.name, spec.task, spec.input_kind) == ("mni152", "segmentation", "volume")
    assert (spec.input_shape, spec.targets[0].shape) == ((1, 40, 56, 50), (40, 56, 50))
    assert spec.class_names == ("other", "gray matter", "white matter")
    assert spec.sizes == {"train": 60, "val": 6, "test": 24}
    verify(spec.file)


def test_the_copyright_notice_that_the_license_asks_for_is_in_the_file(made: Path) -> None:
    with h5py.File(made) as file:
        assert "Copyright (C) 1993-2004 Louis Collins" in file.attrs["provenance"]


def test_tissues_have_their_gray_values_and_the_noise_its_size(made: Path) -> None:
    with h5py.File(made) as file:
        inputs, labels = file["test/inputs"][:, 0].astype(np.float64), file["test/targets"][()]
    assert np.bincount(labels.ravel()).tolist() == [1_828_756, 541_922, 317_322]
    other, gray, white = (inputs[labels == tissue] for tissue in range(3))
    # 2.3, 166.5 and 213.9 of 255 in the template, whose brain has standard deviation 36.0.
    assert (gray.mean(), white.mean()) == (pytest.approx(-0.283, abs=0.02), pytest.approx(1.034, abs=0.02))
    assert white.std() == pytest.approx(np.hypot(1, 10.5 / 36), abs=0.01)
    assert other.mean() < gray.mean() - 3


def test_the_right_hemisphere_is_the_mirror_image_of_the_left_one_under_other_noise(made: Path) -> None:
    with h5py.File(made) as file:
        val, val_labels = file["val/inputs"][:, 0].astype(np.float64), file["val/targets"][()]
        test, test_labels = file["test/inputs"][:, 0].astype(np.float64), file["test/targets"][()]
    slab = test.reshape(2, 4, 3, 40, 56, 50)[::-1, 2, :, ::-1].reshape(val.shape)
    assert (test_labels.reshape(2, 4, 3, 40, 56, 50)[::-1, 2, :, ::-1].reshape(val.shape) == val_labels).all()
    difference = (slab - val).astype(np.float64)
    assert difference.std() == pytest.approx(np.sqrt(2), abs=0.01)


def test_no_voxel_is_in_two_splits() -> None:
    taken = {
        "train": itertools.product(*mni152._TRAIN),
        "val": itertools.product(mni152._LEFT, (mni152._VAL_SLAB,), mni152._BOTTOMS),
        "test": itertools.product(mni152._RIGHT, mni152._SLABS, mni152._BOTTOMS),
    }
    counts = np.zeros((3, *mni152._SHAPE), np.uint8)
    for number, (split, corners) in enumerate(taken.items()):
        for corner in corners:
            box = tuple(slice(at, at + length) for at, length in zip(corner, mni152._PATCH, strict=True))
            assert counts[number][box].shape == mni152._PATCH, f"{split} leaves the volume"
            counts[number][box] += 1
    assert ((counts > 0).sum(0) <= 1).all()
    assert counts[1:].max() == 1  # nothing is judged twice
    assert not counts[:2, 98:].any() and not counts[2, :99].any()


def test_volumes_are_read_as_nibabel_reads_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = (np.arange(np.prod(mni152._SHAPE)) % 251).astype(np.uint8).reshape(mni152._SHAPE)
    file = tmp_path / mni152._FILE.format("t1")
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), file)
    monkeypatch.setitem(mni152._SHA256, "t1", hashlib.sha256(file.read_bytes()).hexdigest())
    assert (mni152._values(tmp_path, "t1") == values).all()


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / mni152._FILE.format("t1")).write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"is not the file that was expected"):
        sources.load("mni152").make(tmp_path / "mni152.h5", tmp_path)
    (tmp_path / mni152._FILE.format("t1")).unlink()
    with pytest.raises(DataError, match=r"is not in there.*nilearn"):
        sources.load("mni152").make(tmp_path / "mni152.h5", tmp_path)
    assert not (tmp_path / "mni152.h5").exists()
