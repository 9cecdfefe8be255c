"""Data sets of text: the King James Bible by characters, and with a dictionary by words."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig, Windows
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.sources import _fetch, _kjv
from hpc_dl.data.sources.gcide import _analogies, _fetch_packages, _similarities, _without_annotations
from hpc_dl.data.storage.checksum import content_checksum
from hpc_dl.errors import DataError

from .conftest import Made, skip_unless_fetched

pytestmark = pytest.mark.slow


def test_kjv_is_complete_and_split_in_blocks(made: Made) -> None:
    with h5py.File(made("kjv")) as file:
        characters = np.array(list(file["train/inputs"].attrs["class_names"]))
        parts = {split: "".join(characters[file[split]["inputs"][()]]) for split in ("train", "val", "test")}
    text = "".join(parts.values())
    assert len(text) == 4_137_850
    assert [round(len(part) / len(text), 2) for part in parts.values()] == [0.9, 0.05, 0.05]
    verses = {split: part.splitlines() for split, part in parts.items()}
    assert [len(lines) for lines in verses.values()] == [28_102, 1_600, 1_400]
    assert verses["train"][0] == "In the beginning God created the heaven and the earth."
    assert verses["train"][-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    # The 1,801st verse is Exodus 10:23, the 3,801st Numbers 5:8.
    assert verses["val"][0].startswith("They saw not one another, neither rose any from his place for three days")
    assert verses["test"][0].startswith("But if the man have no kinsman to recompense the trespass unto")
    assert "Jesus wept." in text and not any(character.isdigit() for character in text)
    assert sorted(set(text)) == characters.tolist()


def test_kjv_targets_are_the_next_characters(made: Made) -> None:
    file = made("kjv")
    data = open_data(file, DataConfig(file=str(file), windows=Windows(length=16)))
    with data.reader("train") as reader:
        inputs, targets = reader.read(np.arange(2))
    text = "".join(data.spec.class_names[token] for token in inputs.reshape(-1))
    assert text == "In the beginning God created the"
    assert targets.reshape(-1)[:-1].tolist() == inputs.reshape(-1)[1:].tolist()
    assert data.spec.class_names[targets[1, -1]] == " "


def test_stream_needs_windows(made: Made) -> None:
    file = made("kjv")
    with pytest.raises(DataError, match=r"data\.windows: is required"):
        open_data(file, DataConfig(file=str(file)))


def test_verses_of_the_bible(tmp_path: Path) -> None:
    try:
        folder, _ = _fetch.fetch_package("kjv", f"deb:{_kjv.PACKAGE}", tmp_path, None)
    except DataError as error:
        skip_unless_fetched(error)
        raise
    verses = _kjv.read_verses(next(folder.rglob(_kjv.FILE)))
    assert len(verses) == 31_102
    assert verses[0] == "In the beginning God created the heaven and the earth."
    assert verses.index("Jesus wept.") == 26_558
    assert verses[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert sum(len(verse.split()) for verse in verses) == 789634


@pytest.mark.slow
def test_gcide_has_the_words_and_the_benchmarks(made: Made) -> None:
    with h5py.File(made("gcide")) as file:
        names = list(file["train/inputs"].attrs["class_names"])
        assert len(names) == 39_287
        assert content_checksum(file) == f"sha256:{file.attrs['sha256']}"
        assert {split: len(file[split]["inputs"]) for split in file} == {
            "train": 4_571_512,
            "val": 44_545,
            "test": 48_557,
        }
        counts = np.bincount(file["train/inputs"][()], minlength=len(names))
        assert counts.min() == 5 and (np.diff(counts) <= 0).all(), "the most frequent word comes first"
        last = [names[token] for token in file["train/inputs"][-7:]]
        test = {name: values[()] for name, values in file["test"].items()}
    assert " ".join(last) == "jesus christ be with you all amen"
    pairs = [(names[a], names[b]) for a, b in test["wordsim353_pairs"]]
    assert test["wordsim353_scores"][pairs.index(("tiger", "cat"))] == np.float32(7.35)
    assert (len(pairs), len(test["simlex999_pairs"]), len(test["analogies"])) == (315, 983, 7751)
    assert ("boy", "girl", "brother", "sister") in {tuple(names[token] for token in row) for row in test["analogies"]}


def test_gcide_packages_can_be_given_as_archives(tmp_path: Path) -> None:
    for archive, file in (("dictionary.whl", "gcide.dict.dz"), ("bible.whl", _kjv.FILE)):
        with zipfile.ZipFile(tmp_path / archive, "w") as zipped:
            zipped.writestr(f"data/{file}", file)
    for given, files in ((tmp_path, ["gcide.dict.dz", _kjv.FILE]), (tmp_path / "bible.whl", [_kjv.FILE])):
        (scratch := tmp_path / f"scratch-{given.name}").mkdir()
        folders, origin = _fetch_packages(scratch, given)
        assert origin == given.name
        for file in files:
            assert _fetch.find_file(folders[:-1], file).read_text() == file


def test_annotations_are_removed_from_an_entry() -> None:
    entry = r"Coak \Coak\ (k[=o]k), n. [Obs.] (Carp.) A kind of tenon [Also spelt {coag}.] --Shak."
    assert " ".join(_without_annotations(entry).split()) == "Coak , n. (Carp.) A kind of tenon --Shak."


def test_benchmarks_keep_known_words_only() -> None:
    token_of = {"cat": 0, "dog": 1, "king": 2, "queen": 3}
    similarities = _similarities("x", [("cat", "dog", "7.5"), ("cat", "unicorn", "1")], token_of)
    assert similarities["x_pairs"].tolist() == [[0, 1]] and similarities["x_scores"].tolist() == [7.5]
    assert _analogies([": kings", "Cat Dog King Queen", "cat dog king emu"], token_of).tolist() == [[0, 1, 2, 3]]
