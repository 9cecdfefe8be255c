"""A dictionary and the Bible as a row of words: made for real where the three packages can be had."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources import _kjv
from hpc_dl.data.sources.gcide import _APPARATUS, _analogies, _pairs
from hpc_dl.data.storage.checksum import content_checksum
from hpc_dl.errors import DataError


def _fetch(command: Sequence[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        reason = f"there is no {command[0]}"
    else:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        if done.returncode == 0:
            return
        reason = f"{' '.join(command)}: {done.stderr.strip()[-300:]}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    _fetch(["apt-get", "download", "dict-gcide", "bible-kjv-text"], folder)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    _fetch([*pip, "--dest", str(folder), "gensim==4.4.0"], folder)
    return folder


@pytest.mark.slow
def test_the_words_of_dictionary_and_bible(tmp_path: Path, packages: Path) -> None:
    path = tmp_path / "gcide.h5"
    sources.load("gcide").make(path, packages)
    spec = open_spec(DataConfig(file=str(path), windows={"length": 512}))  # type: ignore[arg-type]
    assert (spec.task, spec.input_kind, spec.num_outputs) == ("embedding", "tokens", 39_287)
    assert spec.checksum == "sha256:2dc059594eeb3484bdc33b045979926b21b6bc0269b8b729b1bfaf3fd0981e91"
    assert spec.sizes == {"train": 4_571_512 // 512, "val": 44_545 // 512, "test": 48_557 // 512}
    names = spec.class_names
    assert names[:4] == ("the", "of", "a", "to")
    with h5py.File(path) as file:
        assert content_checksum(file) == spec.checksum
        counts = np.bincount(file["train/inputs"][()], minlength=len(names))
        assert counts.min() == 5 and (np.diff(counts) <= 0).all(), "the most frequent word is the first"
        last = [names[token] for token in file["train/inputs"][-7:]]
        test = {name: values[()] for name, values in file["test"].items()}
    assert " ".join(last) == "jesus christ be with you all amen"
    pairs = [(names[a], names[b]) for a, b in test["wordsim353_pairs"]]
    assert test["wordsim353_scores"][pairs.index(("tiger", "cat"))] == np.float32(7.35)
    assert (len(pairs), len(test["simlex999_pairs"]), len(test["analogies"])) == (315, 983, 7751)
    assert ("boy", "girl", "brother", "sister") in {tuple(names[token] for token in row) for row in test["analogies"]}


def test_the_verses_of_the_bible(tmp_path: Path, packages: Path) -> None:
    subprocess.run(["dpkg-deb", "-x", *map(str, packages.glob("bible*.deb")), str(tmp_path)], check=True)
    verses = _kjv.verses(next(tmp_path.rglob(_kjv.FILE)))
    assert len(verses) == 31_102
    assert verses[0] == "In the beginning God created the heaven and the earth."
    assert verses.index("Jesus wept.") == 26_558
    assert verses[-1] == "The grace of our Lord Jesus Christ be with you all. Amen."
    assert sum(len(verse.split()) for verse in verses) == 789634


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / _kjv.FILE).write_bytes(b"EC02Compressed Data File")
    with pytest.raises(DataError, match=r"bible.data: is not the file that was expected .*got 'SHA-256"):
        _kjv.verses(tmp_path / _kjv.FILE)


def test_a_folder_without_the_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "given").mkdir()
    with pytest.raises(DataError, match=r"given: gcide.dict.dz is not in there. Give a folder with the archives of"):
        sources.load("gcide").make(tmp_path / "gcide.h5", tmp_path / "given")
    assert not (tmp_path / "gcide.h5").exists()


def test_what_is_no_running_text_is_left_out() -> None:
    entry = r"Coak \Coak\ (k[=o]k), n. [Obs.] (Carp.) A kind of tenon [Also spelt {coag}.] --Shak."
    assert " ".join(_APPARATUS.sub(" ", entry).split()) == "Coak , n. (Carp.) A kind of tenon --Shak."


def test_only_pairs_and_questions_of_known_words_are_kept() -> None:
    number = {"cat": 0, "dog": 1, "king": 2, "queen": 3}
    found = _pairs("x", [("cat", "dog", "7.5"), ("cat", "unicorn", "1")], number)
    assert found["x_pairs"].tolist() == [[0, 1]] and found["x_scores"].tolist() == [7.5]
    assert _analogies([": kings", "Cat Dog King Queen", "cat dog king emu"], number).tolist() == [[0, 1, 2, 3]]
