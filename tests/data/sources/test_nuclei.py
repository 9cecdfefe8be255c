"""The image of nuclei: what is in the file, and that the splits are apart."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources.nuclei import _orientations, _tiles
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("nuclei", tmp_path_factory.mktemp("data"))


def test_shapes_and_classes(made: Path) -> None:
    spec = open_spec(DataConfig(file=str(made)))
    assert (spec.name, spec.task, spec.input_kind) == ("nuclei", "segmentation", "image")
    assert (spec.input_shape, spec.targets[0].shape) == ((1, 128, 128), (128, 128))
    assert spec.class_names == ("background", "nucleus")
    assert spec.sizes == {"train": 45 * 8, "val": 2, "test": 8}
    assert spec.checksum == "sha256:9faa866564588253c34b8ffbdd7bf6cfc3ca886eab359602d8c85ee2e8e961a8"
    verify(spec.file)


def test_the_tiles_of_the_test_split_make_the_right_half_of_the_image(made: Path) -> None:
    with h5py.File(made) as file:
        tiles, labels = file["test/inputs"][:, 0], file["test/targets"][()]
        train = file["train/inputs"][:45, 0]
    image, mask = (part.reshape(4, 2, 128, 128).swapaxes(1, 2).reshape(512, 256) for part in (tiles, labels))
    assert (int(image.max()), int(image.astype(int).sum()), int(mask.sum())) == (232, 3_801_760, 22_770)
    # Otsu (1979): the threshold of least variance on both of its sides, from the training tiles,
    # finds most nuclei.
    found = image > _otsu(train)
    assert (found & (mask == 1)).sum() / (found | (mask == 1)).sum() == pytest.approx(0.676, abs=0.002)


def _otsu(values: np.ndarray) -> int:
    counts = np.bincount(values.ravel(), minlength=256)
    below, levels = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (levels / below - (levels[-1] - levels) / above) ** 2
    return int(np.nanargmax(between))


def test_training_tiles_come_in_eight_orientations() -> None:
    layers = np.arange(2 * 128 * 160).reshape(2, 128, 160)
    tiles = _tiles(layers, 32)
    assert tiles.shape == (2, 2, 128, 128)
    assert (tiles[1] == layers[:, :, 32:]).all()
    turned = _orientations(tiles)
    assert turned.shape == (16, 2, 128, 128)
    assert (np.sort(turned.reshape(8, 2, -1)) == np.sort(tiles.reshape(1, 2, -1))).all()
    assert len({tile.tobytes() for tile in turned}) == 16


def test_no_training_pixel_is_a_test_pixel() -> None:
    columns = np.tile(np.arange(512), (1, 512, 1))
    assert _tiles(columns[:, :384, :256], 32).max() == 255
    assert _tiles(columns[:, :, 256:], 128).min() == 256


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "img2d.tif").write_bytes(b"II*\0 nonsense")
    (tmp_path / "mask2d.tif").write_bytes(b"II*\0 nonsense")
    with pytest.raises(DataError, match=r"img2d.tif: is not the file that was expected"):
        sources.load("nuclei").make(tmp_path / "nuclei.h5", tmp_path)
    (tmp_path / "img2d.tif").unlink()
    with pytest.raises(DataError, match=r"img2d.tif is not in there.*stardist"):
        sources.load("nuclei").make(tmp_path / "nuclei.h5", tmp_path)
    assert not (tmp_path / "nuclei.h5").exists()
