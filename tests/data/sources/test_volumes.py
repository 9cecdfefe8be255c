"""Data sets of volumes: known voxels, the copyright notice, and that the splits share no voxel."""

import hashlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.sources import colin27, mni152, nuclei_3d
from hpc_dl.data.sources._brain_volumes import voxels_of
from hpc_dl.data.sources._fetch import read_gzip

from .conftest import Made

pytestmark = pytest.mark.slow


def test_mni152_contains_the_copyright_notice(made: Made) -> None:
    with h5py.File(made("mni152")) as file:
        assert "Copyright (C) 1993-2004 Louis Collins" in file.attrs["provenance"]


def test_mni152_tissues_have_their_gray_values_and_unit_noise(made: Made) -> None:
    with h5py.File(made("mni152")) as file:
        inputs, labels = file["test/inputs"][:, 0].astype(np.float64), file["test/targets"][()]
    assert np.bincount(labels.ravel()).tolist() == [1_828_756, 541_922, 317_322]
    other, gray, white = (inputs[labels == tissue] for tissue in range(3))
    # 2.3, 166.5 and 213.9 of 255 in the template; the standard deviation of its brain is 36.0.
    assert (gray.mean(), white.mean()) == (pytest.approx(-0.283, abs=0.02), pytest.approx(1.034, abs=0.02))
    assert white.std() == pytest.approx(np.hypot(1, 10.5 / 36), abs=0.01)
    assert other.mean() < gray.mean() - 3


def test_mni152_hemispheres_are_mirror_images_with_other_noise(made: Made) -> None:
    with h5py.File(made("mni152")) as file:
        val, val_labels = file["val/inputs"][:, 0].astype(np.float64), file["val/targets"][()]
        test, test_labels = file["test/inputs"][:, 0].astype(np.float64), file["test/targets"][()]
    slab = test.reshape(2, 4, 3, 40, 56, 50)[::-1, 2, :, ::-1].reshape(val.shape)
    assert (test_labels.reshape(2, 4, 3, 40, 56, 50)[::-1, 2, :, ::-1].reshape(val.shape) == val_labels).all()
    difference = (slab - val).astype(np.float64)
    assert difference.std() == pytest.approx(np.sqrt(2), abs=0.01)


def test_mni152_splits_share_no_voxel() -> None:
    counts = np.zeros((3, *mni152._SHAPE), np.uint8)
    for number, (split, corners) in enumerate(mni152._corners().items()):
        for corner in corners:
            box = tuple(slice(start, start + length) for start, length in zip(corner, mni152._PATCH, strict=True))
            assert counts[number][box].shape == mni152._PATCH, f"a {split} patch exceeds the volume"
            counts[number][box] += 1
    assert ((counts > 0).sum(0) <= 1).all()
    assert counts[1:].max() == 1, "val and test patches do not overlap"
    assert not counts[:2, 98:].any() and not counts[2, :99].any()


def test_volumes_are_read_as_nibabel_reads_them(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    values = (np.arange(np.prod(mni152._SHAPE)) % 251).astype(np.uint8).reshape(mni152._SHAPE)
    file = tmp_path / "volume.nii"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), file)
    assert (voxels_of(file.read_bytes(), mni152._SHAPE) == values).all()
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "volume.nii.gz")
    content = read_gzip(tmp_path / "volume.nii.gz", hashlib.sha256(file.read_bytes()).hexdigest())
    assert (voxels_of(content, mni152._SHAPE) == values).all()


def test_colin27_has_every_class_in_every_split(made: Made) -> None:
    with h5py.File(made("colin27")) as file:
        counts = {split: np.bincount(file[f"{split}/targets"][()].ravel()) for split in ("train", "val", "test")}
    assert counts["test"].tolist() == [42_938, 7474, 474, 1067, 2837, 930, 794, 1911, 1479]
    assert counts["val"].tolist() == [9648, 512, 40, 711, 977, 3568, 183, 2172, 2157]
    assert counts["train"].min() > 8000


def test_colin27_hemispheres_are_similar_but_differ(made: Made) -> None:
    with h5py.File(made("colin27")) as file:
        test, train = (
            {name: file[f"{split}/{name}"][()] for name in ("inputs", "targets")} for split in ("test", "train")
        )
    mirrored = [slab - colin27._TRAIN[0] for slab in colin27._SLABS]
    guess, truth = train["targets"][mirrored], test["targets"]
    dice = [2 * ((guess == k) & (truth == k)).sum() / ((guess == k).sum() + (truth == k).sum()) for k in range(1, 9)]
    assert np.mean(dice) == pytest.approx(0.813, abs=0.001)
    images = np.stack([train["inputs"][mirrored], test["inputs"]]).reshape(2, -1)
    assert 0.7 < np.corrcoef(images)[0, 1] < 0.99


def test_colin27_splits_share_no_voxel() -> None:
    """Cut a volume whose voxels are their own numbers."""
    numbers = np.stack(2 * [np.arange(61 * 73 * 61).reshape(61, 73, 61)])
    left, right = numbers[:, : colin27._MIDDLE], numbers[:, : colin27._MIDDLE : -1]
    assert left.shape == right.shape
    patches = {
        "train": colin27._patches(left, colin27._TRAIN),
        "val": colin27._patches(right, [colin27._VAL_SLAB]),
        "test": colin27._patches(right, colin27._SLABS),
    }
    voxels = {split: np.unique(samples.targets) for split, samples in patches.items()}
    assert sum(map(len, voxels.values())) == len(np.unique(np.concatenate(list(voxels.values()))))
    assert len(voxels["test"]) == patches["test"].targets.size, "test patches do not overlap"
    assert (patches["train"].inputs[:, 0] == patches["train"].targets).all()


def test_colin27_classes_are_the_thousands_of_the_atlas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aal.nii.txt").write_text("1 Precentral_L 2001\n2 Lingual_L 5021\n3 Vermis_10 9170\n\n")
    monkeypatch.setattr("hpc_dl.data.sources._fetch.checked", lambda path, _: path)
    names = [colin27._CLASSES[number] for number in colin27._class_of_value(tmp_path / "aal.nii.txt")]
    assert names == ["other", "frontal", "occipital", "cerebellum"]


def test_nuclei_3d_splits_form_the_volume(made: Made) -> None:
    with h5py.File(made("nuclei_3d")) as file:
        image, mask = (joined({split: file[split][name][()] for split in file}) for name in ("inputs", "targets"))
    assert (int(image.min()), int(image.max()), int(image.sum(dtype=np.int64))) == (104, 375, 21_342_435)
    assert int(mask.sum()) == 41_468
    # Otsu's threshold (1979) of this volume finds few of the nuclei's voxels, but no others.
    above = image > 206
    assert (above & (mask == 1)).sum() / (above | (mask == 1)).sum() == pytest.approx(0.625, abs=0.001)


def joined(splits: dict[str, np.ndarray]) -> np.ndarray:
    """The volume from its slabs; training slabs start at 0, 1, …, 13, the unmirrored ones first."""
    train, last = splits["train"][[0, 12]], splits["train"][13, ..., -1:, :]
    return np.concatenate([*train, last, *splits["val"], *splits["test"]], axis=-2).reshape(31, 61, 57)


def test_nuclei_3d_training_slabs_come_in_eight_mirror_images() -> None:
    layers = np.arange(2 * 3 * 14 * 5).reshape(2, 3, 14, 5)
    slabs = nuclei_3d._slabs(layers, (0, 14), 1)
    assert slabs.shape == (3, 2, 3, 12, 5)
    assert (slabs[2] == layers[:, :, 2:]).all()
    mirrored = nuclei_3d._mirror_images(slabs)
    assert mirrored.shape == (24, 2, 3, 12, 5)
    assert len({slab.tobytes() for slab in mirrored}) == 24
    assert (np.sort(mirrored.reshape(8, 3, 2, -1)) == np.sort(slabs.reshape(3, 2, -1))).all()


def test_nuclei_3d_splits_share_no_layer() -> None:
    layers = np.arange(61)[None, None, :, None] * np.ones((1, 31, 1, 57), int)
    ranges = {"train": (nuclei_3d._TRAIN, 1), "val": (nuclei_3d._VAL, 12), "test": (nuclei_3d._TEST, 12)}
    layers_of = {split: np.unique(nuclei_3d._slabs(layers, *part)).tolist() for split, part in ranges.items()}
    assert layers_of == {"train": [*range(25)], "val": [*range(25, 37)], "test": [*range(37, 61)]}
