"""Data sets of images: counts, known pixels, and how tiles are cut."""

import shutil
import subprocess
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.sources.nuclei import _orientations, _tiles

from .conftest import Made, read_splits

pytestmark = pytest.mark.slow


def test_digits_have_16_levels_and_all_classes_in_the_test_split(made: Made) -> None:
    splits = read_splits(made("digits"))
    assert set(np.bincount(splits["test"][1])) <= {34, 35, 36, 37, 38}
    assert splits["train"][0].max() == 16


def test_mnist_has_the_first_10000_training_images(made: Made) -> None:
    splits = read_splits(made("mnist"))
    images = np.concatenate([splits[split][0] for split in ("train", "val", "test")])
    labels = [splits[split][1] for split in ("train", "val", "test")]
    counts = np.bincount(np.concatenate(labels))
    assert counts.tolist() == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    for part, share in zip(labels, (0.7, 0.1, 0.2), strict=True):
        assert np.abs(np.bincount(part) - share * counts).max() <= 1
    assert (images.dtype, images.min(), images.max()) == (np.uint8, 0, 255)
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) == len(images), "no image occurs twice"


@pytest.mark.slow
def test_fashion_mnist_is_made_from_a_given_package(made: Made, tmp_path: Path) -> None:
    apt = shutil.which("apt-get")
    if apt is None:
        pytest.skip("apt-get, which fetches the Debian package, is not installed")
    package = "dataset-fashion-mnist"
    done = subprocess.run([apt, "download", package], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"apt-get download {package}: {done.stderr.strip()}")
    (given,) = tmp_path.glob("*.deb")
    sources.load("fashion_mnist").make(tmp_path / "fashion_mnist.h5", given)
    with h5py.File(tmp_path / "fashion_mnist.h5") as file, h5py.File(made("fashion_mnist")) as fetched:
        assert file.attrs["sha256"] == fetched.attrs["sha256"]
        assert np.bincount(file["val/targets"]).tolist() == [500] * 10


def test_nuclei_test_tiles_form_the_right_half_of_the_image(made: Made) -> None:
    with h5py.File(made("nuclei")) as file:
        tiles, labels = file["test/inputs"][:, 0], file["test/targets"][()]
        train = file["train/inputs"][:45, 0]
    image, mask = (part.reshape(4, 2, 128, 128).swapaxes(1, 2).reshape(512, 256) for part in (tiles, labels))
    assert (int(image.max()), int(image.astype(int).sum()), int(mask.sum())) == (232, 3_801_760, 22_770)
    # Otsu's threshold (1979) of the training tiles finds most nuclei.
    above = image > otsu_threshold(train)
    assert (above & (mask == 1)).sum() / (above | (mask == 1)).sum() == pytest.approx(0.676, abs=0.002)


def otsu_threshold(values: np.ndarray) -> int:
    """The threshold with the least variance on both sides."""
    counts = np.bincount(values.ravel(), minlength=256)
    below, levels = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (levels / below - (levels[-1] - levels) / above) ** 2
    return int(np.nanargmax(between))


def test_nuclei_training_tiles_come_in_eight_orientations() -> None:
    layers = np.arange(2 * 128 * 160).reshape(2, 128, 160)
    tiles = _tiles(layers, 32)
    assert tiles.shape == (2, 2, 128, 128)
    assert (tiles[1] == layers[:, :, 32:]).all()
    oriented = _orientations(tiles)
    assert oriented.shape == (16, 2, 128, 128)
    assert (np.sort(oriented.reshape(8, 2, -1)) == np.sort(tiles.reshape(1, 2, -1))).all()
    assert len({tile.tobytes() for tile in oriented}) == 16


def test_nuclei_splits_share_no_pixel() -> None:
    columns = np.tile(np.arange(512), (1, 512, 1))
    assert _tiles(columns[:, :384, :256], 32).max() == 255
    assert _tiles(columns[:, :, 256:], 128).min() == 256
