"""Japanese vowels, made for real out of the Python package that holds them."""

from pathlib import Path

import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("japanese_vowels", tmp_path_factory.mktemp("data"))


def test_what_it_is(path: Path) -> None:
    spec = open_data(path, DataConfig(file=str(path))).spec
    assert (spec.task, spec.input_kind, spec.input_shape, spec.num_outputs) == ("classification", "sequence", (12,), 9)
    assert spec.inputs[0].ragged and not spec.targets[0].ragged
    assert spec.sizes == {"train": 225, "val": 45, "test": 370}
    assert spec.class_names[0] == "speaker 1"
    assert spec.checksum == "sha256:80636c26ed31867d4804bcf46b2b3d6e96e39fc1014ff94a6effe045a31ca7e4"
    verify(path)


def test_lengths_classes_and_first_values_are_those_of_the_authors(path: Path) -> None:
    data = open_data(path, DataConfig(file=str(path)))
    lengths, classes, found = [], {}, {}
    for split, size in data.spec.sizes.items():
        with data.reader(split) as reader:
            inputs, targets = reader.read(np.arange(size))
        lengths += inputs.lengths.tolist()
        classes[split] = np.bincount(targets).tolist()
        found[split] = inputs.values
    assert (min(lengths), max(lengths)) == (7, 29)
    assert classes == {"train": [25] * 9, "val": [5] * 9, "test": [31, 35, 88, 44, 29, 24, 40, 50, 29]}
    # The authors' first training utterance begins so.
    known = np.isclose(np.concatenate([found["train"], found["val"]])[:, :3], [1.860936, -0.207383, 0.261557])
    assert known.all(1).sum() == 1


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"JapaneseVowels_TRAIN\.ts is not in there"):
        sources.load("japanese_vowels").make(tmp_path / "out" / "a.h5", tmp_path)
    assert not (tmp_path / "out").exists()


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "JapaneseVowels_TRAIN.ts").write_text("@data\n1:2:1\n")
    with pytest.raises(DataError, match=r"JapaneseVowels_TRAIN\.ts: is not the file that was expected"):
        sources.load("japanese_vowels").make(tmp_path / "out" / "a.h5", tmp_path)
    assert not (tmp_path / "out").exists()
