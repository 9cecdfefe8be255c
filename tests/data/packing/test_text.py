"""Text files become a stream of tokens, with the vocabulary of the training split."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.packing.formats import text as text_format
from hpc_dl.errors import DataError

from .conftest import content, packed

TEXT = "The cat doesn't sit.\nThe dog – Ørsted's – sits: \u00e9t\u00e9!\n" * 30


def vocabulary(path: Path) -> list[str]:
    with h5py.File(path) as file:
        names = file["train/inputs"].attrs["class_names"]
        assert bool(file.attrs["stream"]) and list(file["train"]) == ["inputs"]
    return [name.decode() if isinstance(name, bytes) else name for name in names]


def test_characters_keep_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_format, "_PIECE_CHARACTERS", 64)
    (tmp_path / "in.txt").write_text(TEXT)
    for number, codec in enumerate([None, "gzip"]):
        result = packed(tmp_path / "in.txt", tmp_path / f"{number}.h5", codec=codec)
        names = vocabulary(tmp_path / f"{number}.h5")
        assert "".join(names[token] for token in content(tmp_path / f"{number}.h5")["train/inputs"]) == TEXT
        assert names == ["<unknown>", *sorted(set(TEXT))]
        assert (result["task"], result["input_dtype"]) == ("language_modeling", "uint8")
        assert verify(tmp_path / f"{number}.h5")["checksum"] == result["checksum"]


def test_words_of_the_training_split_are_the_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_format, "_PIECE_CHARACTERS", 64)
    (tmp_path / "in.txt").write_text(TEXT + "A zebra.\n")
    packed(tmp_path / "in.txt", tmp_path / "out.h5", tokens="words", splits="train=.8,val=.1,test=.1")
    names, arrays = vocabulary(tmp_path / "out.h5"), content(tmp_path / "out.h5")
    together = np.concatenate([arrays[f"{split}/inputs"] for split in ("train", "val", "test")])
    first = [
        "The",
        "cat",
        "doesn't",
        "sit",
        ".",
        "\n",
        "The",
        "dog",
        "–",
        "Ørsted's",
        "–",
        "sits",
        ":",
        "été",
        "!",
        "\n",
    ]
    assert [names[token] for token in together[: len(first)]] == first
    assert [names[token] for token in together[-4:]] == ["<unknown>", "<unknown>", ".", "\n"]
    assert "zebra" not in names and names[1] == "The"  # the most frequent words come first


def test_rare_words_become_unknown(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a a a b b c")
    result = packed(tmp_path / "in.txt", tmp_path / "out.h5", tokens="words", vocabulary=3)
    assert vocabulary(tmp_path / "out.h5") == ["<unknown>", "a", "b"]
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"], [1, 1, 1, 2, 2, 0])
    assert any("83.33% of it" in note for note in result["notes"])


def test_files_named_after_splits(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / "in" / f"{split}.txt").write_text(f"{TEXT}{split}")
    result = packed(tmp_path / "in", tmp_path / "out.h5")
    assert result["sizes"] == {"train": len(TEXT) + 5, "val": len(TEXT) + 5, "test": len(TEXT) + 4}
    data = open_data(tmp_path / "out.h5", DataConfig(file="x", targets=None, windows={"length": 16}))
    assert data.spec.task == "language_modeling"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "contains no text"),
        (b"a\0b", "contains a null character"),
        ("d\u00e9j\u00e0".encode("latin-1"), "cannot be read: .*iconv"),
    ],
)
def test_what_is_no_text_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        packed(tmp_path / "in.txt", tmp_path / "out.h5")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\u6211\u559c\u6b61 AI\u3002", ["\u6211", "\u559c", "\u6b61", "AI", "\u3002"]),
        ("\u0939\u093f\u0928\u094d\u0926\u0940 \u092d", ["\u0939\u093f\u0928\u094d\u0926\u0940", "\u092d"]),
        ("cafe\u0301s don't", ["cafe\u0301s", "don't"]),
        ("\u0e09\u0e31\u0e19", ["\u0e09\u0e31", "\u0e19"]),
        ("\ud55c\uad6d\uc5b4", ["\ud55c\uad6d\uc5b4"]),
    ],
)
def test_words_of_other_scripts(text: str, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text(text)
    packed(tmp_path / "in.txt", tmp_path / "out.h5", tokens="words")
    names = vocabulary(tmp_path / "out.h5")
    assert [names[token] for token in content(tmp_path / "out.h5")["train/inputs"]] == words


def test_folders_of_texts_are_no_classes(tmp_path: Path) -> None:
    for name in ("neg", "pos"):
        (tmp_path / "in" / name).mkdir(parents=True)
        (tmp_path / "in" / name / "1.txt").write_text(name)
    assert "folders are not classes; all files form one text: neg, pos" in packed(
        tmp_path / "in", tmp_path / "out.h5"
    )["notes"]  # fmt: skip
