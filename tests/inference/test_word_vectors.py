"""``hpc-dl similar`` and ``hpc-dl analogy``."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.inference.model_task import ModelTask, perform
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from tests.cli.conftest import HpcDl
from tests.inference.conftest import Train, load

WORDS = ["king", "queen", "man", "woman", "river", "stream"]


@pytest.fixture(scope="module")
def run(train: Train, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Word vectors of a few words, hardly trained."""
    path = tmp_path_factory.mktemp("words") / "words.h5"
    with h5py.File(path, "w") as file:
        for split in ("train", "val", "test"):
            file[f"{split}/inputs"] = np.random.default_rng(0).integers(6, size=480).astype(np.int32)
            file[f"{split}/inputs"].attrs["class_names"] = WORDS
    data = {"windows": {"length": 24}, "targets": None, "task": "embedding"}
    return train(path, data=data, model={"name": "word2vec", "dimension": 4, "window": 2})


@pytest.mark.slow
def test_similar_words(hpc_dl: HpcDl, run: RunFolder) -> None:
    vectors = torch.nn.functional.normalize(load(run).model.words.weight, dim=1)  # type: ignore[union-attr, arg-type]
    cosines = (vectors @ vectors.T).fill_diagonal_(-2)
    answer = hpc_dl("similar", run.path, "king", "river", "--count", 2, "--json")
    assert answer.status == 0, answer.err
    for word in ("king", "river"):
        top = cosines[WORDS.index(word)].topk(2)
        near = answer.json["similar"][word]
        assert [found["word"] for found in near] == [WORDS[number] for number in top.indices]
        assert [found["cosine"] for found in near] == pytest.approx(top.values.tolist(), abs=1e-5)
    shown = hpc_dl("similar", run.path, "king", "river").out.splitlines()
    assert shown[0].split() == ["king", "river"] and len(shown) == 6  # the five other words of each


@pytest.mark.slow
def test_analogy(hpc_dl: HpcDl, run: RunFolder) -> None:
    expected = load(run).model.analogy("man", "king", "woman", 3)  # type: ignore[operator]
    answer = hpc_dl("analogy", run.path, "man", "king", "woman", "--count", 3, "--json")
    assert answer.status == 0, answer.err
    assert [(found["word"], pytest.approx(found["cosine"])) for found in answer.json["answers"]] == expected
    shown = hpc_dl("analogy", run.path, "man", "king", "woman")
    assert shown.out.startswith("man is to king as woman is to:\n") and expected[0][0] in shown.out


def test_unknown_word(hpc_dl: HpcDl, run: RunFolder) -> None:
    answer = hpc_dl("similar", run.path, "King")
    assert answer.status == 2
    assert "King: is not in the vocabulary. Did you mean" in answer.err and "king" in answer.err


def test_export(hpc_dl: HpcDl, run: RunFolder, tmp_path: Path) -> None:
    out = tmp_path / "vectors.txt"
    answer = hpc_dl("export", run.path, "--out", out)
    assert answer.status == 0 and "6 vectors of 4 numbers" in answer.out, answer.err
    first, *lines = out.read_text().splitlines()
    assert first == "6 4" and [line.split()[0] for line in lines] == WORDS
    written = torch.tensor([[float(number) for number in line.split()[1:]] for line in lines])
    torch.testing.assert_close(written, load(run).model.words.weight.detach())  # type: ignore[union-attr, arg-type, operator]
    answer = hpc_dl("export", run.path, "--out", out)
    assert answer.status == 2 and "vectors.txt: already exists" in answer.err
    step = RunFolder.create(tmp_path, "export")  # of a chain
    perform(ModelTask(run.path, out=out, force=True), step)
    assert read_json(step.result)["task"]["words"] == 6
