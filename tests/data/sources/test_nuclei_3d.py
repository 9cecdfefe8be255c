"""The simulated volume of nuclei: what is in the file, and that the splits are apart."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources import nuclei_3d
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("nuclei_3d", tmp_path_factory.mktemp("nuclei_3d"))


def test_shapes_and_classes(made: Path) -> None:
    spec = open_spec(DataConfig(file=str(made)))
    assert (spec.name, spec.task, spec.input_kind) == ("nuclei_3d", "segmentation", "volume")
    assert (spec.input_shape, spec.targets[0].shape) == ((1, 31, 12, 57), (31, 12, 57))
    assert spec.class_names == ("background", "nucleus")
    assert spec.sizes == {"train": 14 * 8, "val": 1, "test": 2}
    assert spec.checksum == "sha256:540dabe67a08d38aa1b789755a53b9fe5da9cb903bd777c09370f5ef639c602c"
    verify(spec.file)


def test_the_splits_put_together_are_the_volume(made: Path) -> None:
    with h5py.File(made) as file:
        image, mask = (_joined({split: file[split][name][()] for split in file}) for name in ("inputs", "targets"))
    assert (int(image.min()), int(image.max()), int(image.sum(dtype=np.int64))) == (104, 375, 21_342_435)
    assert int(mask.sum()) == 41_468
    # The threshold that Otsu (1979) takes for this volume finds few of the nuclei's voxels and no
    # others.
    found = image > 206
    assert (found & (mask == 1)).sum() / (found | (mask == 1)).sum() == pytest.approx(0.625, abs=0.001)


def _joined(splits: dict[str, np.ndarray]) -> np.ndarray:
    """The volume, from slabs as they are stored; those of training begin at 0, 1, …, 13, first not
    mirrored."""
    train, last = splits["train"][[0, 12]], splits["train"][13, ..., -1:, :]
    return np.concatenate([*train, last, *splits["val"], *splits["test"]], axis=-2).reshape(31, 61, 57)


def test_training_slabs_come_in_eight_mirror_images() -> None:
    layers = np.arange(2 * 3 * 14 * 5).reshape(2, 3, 14, 5)
    slabs = nuclei_3d._slabs(layers, (0, 14), 1)
    assert slabs.shape == (3, 2, 3, 12, 5)
    assert (slabs[2] == layers[:, :, 2:]).all()
    mirrored = nuclei_3d._mirrored(slabs)
    assert mirrored.shape == (24, 2, 3, 12, 5)
    assert len({slab.tobytes() for slab in mirrored}) == 24
    assert (np.sort(mirrored.reshape(8, 3, 2, -1)) == np.sort(slabs.reshape(3, 2, -1))).all()


def test_no_layer_is_in_two_splits() -> None:
    layers = np.arange(61)[None, None, :, None] * np.ones((1, 31, 1, 57), int)
    within = {"train": (nuclei_3d._TRAIN, 1), "val": (nuclei_3d._VAL, 12), "test": (nuclei_3d._TEST, 12)}
    found = {split: np.unique(nuclei_3d._slabs(layers, *where)).tolist() for split, where in within.items()}
    assert found == {"train": [*range(25)], "val": [*range(25, 37)], "test": [*range(37, 61)]}


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "img3d.tif").write_bytes(b"II*\0 nonsense")
    with pytest.raises(DataError, match=r"img3d.tif: is not the file that was expected"):
        sources.load("nuclei_3d").make(tmp_path / "nuclei.h5", tmp_path)
    (tmp_path / "img3d.tif").unlink()
    with pytest.raises(DataError, match=r"img3d.tif is not in there.*stardist"):
        sources.load("nuclei_3d").make(tmp_path / "nuclei.h5", tmp_path)
    assert not (tmp_path / "nuclei.h5").exists()
