"""The King James Bible, made for real out of the Debian package that holds it."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig, Windows
from hpc_dl.data.files.data_file import open_data
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("kjv", tmp_path_factory.mktemp("data"))


def test_what_it_is(path: Path) -> None:
    spec = open_data(path, DataConfig(file=str(path), windows=Windows(length=128))).spec
    assert (spec.task, spec.input_kind, spec.input_shape, spec.num_outputs) == (
        "language_modeling",
        "tokens",
        (128,),
        63,
    )
    assert spec.input_dtype == "uint8"
    # A window needs one more character: the last one's next.
    assert spec.sizes == {"train": 29_053, "val": 1_731, "test": 1_542}
    assert spec.checksum == "sha256:fe31c5edc2cbb726e214f207c3cafe16caf6c9af80a90e4d164a4ea4705727da"


def test_the_text_is_whole_and_dealt_in_stretches(path: Path) -> None:
    with h5py.File(path) as file:
        characters = np.array(list(file["train/inputs"].attrs["class_names"]))
        parts = {split: "".join(characters[file[split]["inputs"][()]]) for split in ("train", "val", "test")}
    text = "".join(parts.values())
    assert len(text) == 4_137_850
    assert [round(len(part) / len(text), 2) for part in parts.values()] == [0.9, 0.05, 0.05]
    verses = {split: part.splitlines() for split, part in parts.items()}
    assert [len(some) for some in verses.values()] == [28_102, 1_600, 1_400]
    assert verses["train"][0] == "In the beginning God created the heaven and the earth."
    assert verses["train"][-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    # The 1,801st verse is Exodus 10:23, the 3,801st Numbers 5:8.
    assert verses["val"][0].startswith("They saw not one another, neither rose any from his place for three days")
    assert verses["test"][0].startswith("But if the man have no kinsman to recompense the trespass unto")
    assert "Jesus wept." in text and not any(character.isdigit() for character in text)
    assert sorted(set(text)) == characters.tolist()


def test_targets_are_the_next_characters(path: Path) -> None:
    data = open_data(path, DataConfig(file=str(path), windows=Windows(length=16)))
    with data.reader("train") as reader:
        inputs, targets = reader.read(np.arange(2))
    text = "".join(data.spec.class_names[token] for token in inputs.reshape(-1))
    assert text == "In the beginning God created the"
    assert targets.reshape(-1)[:-1].tolist() == inputs.reshape(-1)[1:].tolist()
    assert data.spec.class_names[targets[1, -1]] == " "


def test_windows_are_to_be_told(path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.windows: is required"):
        open_data(path, DataConfig(file=str(path)))


def test_a_folder_without_the_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bible\.data is not in there\. Give the \.deb file"):
        sources.load("kjv").make(tmp_path / "out" / "kjv.h5", tmp_path)
    assert not (tmp_path / "out").exists()
