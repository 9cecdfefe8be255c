"""Colin27 and the atlas AAL: what is in the file, and that the splits are apart."""

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources import colin27
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("colin27", tmp_path_factory.mktemp("colin27"))


def test_shapes_and_classes(made: Path) -> None:
    spec = open_spec(DataConfig(file=str(made)))
    assert (spec.name, spec.task, spec.input_kind) == ("colin27", "segmentation", "volume")
    assert (spec.input_shape, spec.targets[0].shape) == ((1, 24, 16, 52), (24, 16, 52))
    assert spec.class_names[0] == "other" and spec.num_outputs == 9
    assert spec.sizes == {"train": 49, "val": 1, "test": 3}
    assert spec.checksum == "sha256:2b9994c583cc0846d2c6f903074d2247a18366093a1f81800483084616a4d66c"
    verify(spec.file)


def test_every_class_is_in_every_split(made: Path) -> None:
    with h5py.File(made) as file:
        counts = {split: np.bincount(file[f"{split}/targets"][()].ravel()) for split in ("train", "val", "test")}
    assert counts["test"].tolist() == [42_938, 7474, 474, 1067, 2837, 930, 794, 1911, 1479]
    assert counts["val"].tolist() == [9648, 512, 40, 711, 977, 3568, 183, 2172, 2157]
    assert counts["train"].min() > 8000


def test_the_hemispheres_lie_alike_and_differ(made: Path) -> None:
    with h5py.File(made) as file:
        test, train = (
            {name: file[f"{split}/{name}"][()] for name in ("inputs", "targets")} for split in ("test", "train")
        )
    same_place = [slab - colin27._TRAIN[0] for slab in colin27._SLABS]
    guess, truth = train["targets"][same_place], test["targets"]
    dice = [2 * ((guess == k) & (truth == k)).sum() / ((guess == k).sum() + (truth == k).sum()) for k in range(1, 9)]
    assert np.mean(dice) == pytest.approx(0.813, abs=0.001)
    images = np.stack([train["inputs"][same_place], test["inputs"]]).reshape(2, -1)
    assert 0.7 < np.corrcoef(images)[0, 1] < 0.99


def test_no_voxel_is_in_two_splits() -> None:
    """A volume whose voxels are their own numbers, cut as the made file is."""
    numbers = np.stack(2 * [np.arange(61 * 73 * 61).reshape(61, 73, 61)])
    left, right = numbers[:, : colin27._MIDDLE], numbers[:, : colin27._MIDDLE : -1]
    assert left.shape == right.shape
    cut = {
        "train": colin27._patches(left, colin27._TRAIN),
        "val": colin27._patches(right, [colin27._VAL_SLAB]),
        "test": colin27._patches(right, colin27._SLABS),
    }
    found = {split: np.unique(patches.targets) for split, patches in cut.items()}
    assert sum(map(len, found.values())) == len(np.unique(np.concatenate(list(found.values()))))
    assert len(found["test"]) == cut["test"].targets.size  # nothing is judged twice
    assert (cut["train"].inputs[:, 0] == cut["train"].targets).all()


def test_classes_are_the_thousands_of_the_atlas_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "aal.nii.txt").write_text("1 Precentral_L 2001\n2 Lingual_L 5021\n3 Vermis_10 9170\n\n")
    monkeypatch.setattr("hpc_dl.data.sources._fetch.checked", lambda path, _: path)
    names = [colin27._CLASSES[number] for number in colin27._classes(tmp_path)]
    assert names == ["other", "frontal", "occipital", "cerebellum"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ch2.nii.gz").write_bytes(gzip.compress(b"nonsense"))
    with pytest.raises(DataError, match=r"ch2.nii.gz: is not the file that was expected"):
        sources.load("colin27").make(tmp_path / "colin27.h5", tmp_path)
    (tmp_path / "ch2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"ch2.nii.gz is not in there.*mricron-data"):
        sources.load("colin27").make(tmp_path / "colin27.h5", tmp_path)
    assert not (tmp_path / "colin27.h5").exists()
