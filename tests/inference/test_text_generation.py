"""``hpc-dl generate`` for language models: the vocabulary, and what a model has learned."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.errors import DataError
from hpc_dl.inference.text_generation import generate_text
from hpc_dl.inference.vocabulary import Vocabulary
from hpc_dl.runs.folder import RunFolder
from tests.cli.conftest import HpcDl
from tests.inference.conftest import Train, load

LETTERS = "abcd\n"


@pytest.fixture(scope="module")
def alphabet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a stream of characters: the line "abcd" again and again."""
    path = tmp_path_factory.mktemp("alphabet") / "alphabet.h5"
    with h5py.File(path, "w") as file:
        for split, lines in (("train", 300), ("val", 20), ("test", 20)):
            file[f"{split}/inputs"] = np.tile(np.arange(5, dtype=np.uint8), lines)
            file[f"{split}/inputs"].attrs["class_names"] = list(LETTERS)
    return path


def trained(train: Train, file: Path, name: str) -> RunFolder:
    model = {"lstm": {"hidden": 16, "embedding": 8}, "transformer": {"width": 16, "depth": 1, "heads": 2}}[name]
    return train(
        file,
        data={"windows": {"length": 8}, "targets": None, "batch_size": 10},
        model={"name": name, **model},
        optimizer={"name": "adam", "lr": 0.02},
        trainer={"max_epochs": 5},
    )


@pytest.fixture(scope="module")
def lstm(train: Train, alphabet: Path) -> RunFolder:
    return trained(train, alphabet, "lstm")


@pytest.mark.slow
def test_recurrent_network_continues_what_it_learned(lstm: RunFolder) -> None:
    model = load(lstm)
    result = generate_text(model, "cd\n", length=12, temperature=0)
    assert result["text"] == "cd\nabcd\nabcd\nab"
    assert (result["run"], result["start"], result["length"]) == (lstm.name, "cd\n", 12)
    assert generate_text(model, length=4, temperature=0)["text"] == "\nabcd"  # begins with a line break
    hot = [generate_text(model, "a", 40, temperature=50, seed=seed)["text"] for seed in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    # Of the single most probable token there is no choice.
    assert generate_text(model, "a", 8, temperature=50, top_k=1)["text"] == "abcd\nabcd"


@pytest.mark.slow
def test_transformer_continues_what_it_learned_beyond_its_window(train: Train, alphabet: Path) -> None:
    model = load(trained(train, alphabet, "transformer"))
    assert generate_text(model, "ab", length=28, temperature=0)["text"] == "abcd\n" * 6


def test_command(hpc_dl: HpcDl, lstm: RunFolder) -> None:
    answer = hpc_dl("generate", lstm.path, "--start", "ab", "--length", 5, "--temperature", 0)
    assert (answer.status, answer.out) == (0, "abcd\nab\n"), answer.err
    answer = hpc_dl("generate", lstm.path, "--start", "abx")
    assert answer.status == 2
    assert "--start: contains a character that the training data do not have (got 'x')" in answer.err
    answer = hpc_dl("generate", lstm.path, "--count", 3)
    assert answer.status == 2
    assert (
        f"--count: has no effect: {lstm.name} generates text (allowed: --start, --length, --temperature, --top-k)"
        in (answer.err)
    )


@pytest.mark.slow
def test_command_that_does_not_apply_says_which_do(hpc_dl: HpcDl, lstm: RunFolder, image_run: RunFolder) -> None:
    answer = hpc_dl("generate", image_run.path)
    assert answer.status == 2
    assert f"{image_run.name}: `generate` does not apply to mlp with the task classification. Commands for this " in (
        answer.err
    )
    assert "evaluate, predict" in answer.err and "generate," not in answer.err
    answer = hpc_dl("similar", lstm.path, "a")
    assert answer.status == 2 and "Commands for this model: evaluate, predict, embed, generate" in answer.err


def test_words() -> None:
    words = Vocabulary(["<unknown>", "the", "light", ",", ".", "\n", "(", ")"])
    assert not words.of_characters
    tokens = words.tokens("the light, (the sun).\n", "--start")
    assert tokens == [1, 2, 3, 6, 1, 0, 7, 4, 5]
    assert words.text(tokens) == "the light, (the <unknown>).\n"
    with pytest.raises(DataError, match=r"^--start: contains no token"):
        words.tokens("  ", "--start")
    with pytest.raises(DataError, match=r"a word that the training data do not have .*Did you mean"):
        Vocabulary(["light", "dark"]).tokens("ligth", "--start")


def test_characters() -> None:
    characters = Vocabulary(["<unknown>", "a", " "])
    assert characters.of_characters
    assert characters.tokens("a b", "--start") == [1, 2, 0]
    assert characters.text([1, 2, 1]) == "a a"
