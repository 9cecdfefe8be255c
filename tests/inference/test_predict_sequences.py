"""``hpc-dl predict`` for sequence-to-sequence models: beam search, arrays and tables."""

import csv
import itertools
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.ragged import Ragged
from hpc_dl.runs.folder import RunFolder
from tests.cli.conftest import HpcDl
from tests.inference.conftest import Train, load

LETTERS = "abcd"


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 1 to 4 random letters, with the same letters in reverse as targets."""
    path = tmp_path_factory.mktemp("letters") / "letters.h5"
    random = np.random.default_rng(0)
    splits = {}
    for split, size in (("train", 64), ("val", 8), ("test", 9)):
        rows = [random.integers(4, size=random.integers(1, 5)).astype(np.uint8) for _ in range(size)]
        splits[split] = Samples(Ragged.of(rows), Ragged.of([row[::-1].astype(np.int64) for row in rows]))
    write(path, splits, source="letters", task="sequence_to_sequence", license="CC0-1.0", class_names=list(LETTERS))
    return path


@pytest.fixture(scope="module")
def run(train: Train, file: Path) -> RunFolder:
    model = {"name": "seq2seq", "hidden": 8, "embedding": 8, "max_length": 6}
    return train(file, model=model, optimizer={"name": "adam", "lr": 0.02}, trainer={"max_epochs": 2})


@pytest.mark.slow
@pytest.mark.parametrize("beams", [1, 4])
def test_predictions_are_the_sequences_of_the_model(
    hpc_dl: HpcDl, run: RunFolder, file: Path, tmp_path: Path, beams: int
) -> None:
    answer = hpc_dl("predict", run.path, file, "--out", tmp_path / "out.h5", "--beams", beams, "--json")
    assert answer.status == 0, answer.err
    assert answer.json["samples"] == {"train": 64, "val": 8, "test": 9}
    with h5py.File(file) as stored:
        inputs, offsets = (torch.from_numpy(stored[f"test/{name}"][()]) for name in ("inputs", "inputs_offsets"))
    expected = load(run).model.sequences(Ragged(inputs.long(), offsets), beams)  # type: ignore[operator]
    with h5py.File(tmp_path / "out.h5") as results:
        assert results["test/predictions"][()].tolist() == expected.values.tolist()
        assert results["test/predictions_offsets"][()].tolist() == expected.offsets.tolist()
        assert list(results.attrs["class_names"]) == list(LETTERS) and "probabilities" not in results["test"]


@pytest.mark.slow
def test_table_has_the_text_of_each_sequence(hpc_dl: HpcDl, run: RunFolder, file: Path, tmp_path: Path) -> None:
    arrays, table = tmp_path / "out.h5", tmp_path / "out.csv"
    assert hpc_dl("predict", run.path, file, "--out", arrays).status == 0
    assert hpc_dl("predict", run.path, file, "--out", table).status == 0
    with table.open(newline="") as opened:
        rows = [row for row in csv.DictReader(opened) if row["split"] == "test"]
    with h5py.File(arrays) as results:
        symbols, offsets = results["test/predictions"][()], results["test/predictions_offsets"][()]
    texts = ["".join(LETTERS[symbol] for symbol in symbols[start:stop]) for start, stop in itertools.pairwise(offsets)]
    assert [row["prediction"] for row in rows] == texts and any(texts)
    assert list(rows[0]) == ["split", "sample", "prediction"]


@pytest.mark.slow
def test_beams_of_another_model(hpc_dl: HpcDl, image_run: RunFolder, file: Path, tmp_path: Path) -> None:
    answer = hpc_dl("predict", image_run.path, file, "--out", tmp_path / "out.h5", "--beams", 2)
    assert answer.status == 2
    assert f"--beams: has no effect: {image_run.name} writes no sequences (allowed: for sequence_to" in answer.err
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.slow
def test_export_is_refused(hpc_dl: HpcDl, run: RunFolder, tmp_path: Path) -> None:
    answer = hpc_dl("export", run.path, "--out", tmp_path / "model.onnx")
    assert answer.status == 2 and "ONNX requires all samples to have the same shape" in answer.err


@pytest.mark.slow
def test_a_sequence_for_each_vector(hpc_dl: HpcDl, train: Train, tmp_path: Path) -> None:
    """One to many: the model reads no sequence, but writes one."""
    splits = {}
    for split, size in (("train", 64), ("val", 8), ("test", 9)):
        numbers = np.arange(size) % 4
        targets = [np.arange(number) for number in numbers]
        splits[split] = {"inputs": np.eye(4, dtype=np.float32)[numbers], "targets": Ragged.of(targets)}
    file = tmp_path / "counts.h5"
    write(file, splits, source="counts", task="sequence_to_sequence", license="CC0-1.0", class_names=list(LETTERS))
    model = {"name": "one_to_many", "hidden": 8, "embedding": 8, "max_length": 6}
    run = train(file, model=model, optimizer={"name": "adam", "lr": 0.05}, trainer={"max_epochs": 4})
    answer = hpc_dl("predict", run.path, file, "--out", tmp_path / "out.csv", "--beams", 2)
    assert answer.status == 0, answer.err
    written = load(run).model.sequences(torch.eye(4), 2)  # type: ignore[operator]
    texts = [
        "".join(LETTERS[symbol] for symbol in part) for part in torch.split(written.values, written.lengths.tolist())
    ]
    with (tmp_path / "out.csv").open(newline="") as opened:
        rows = [row["prediction"] for row in csv.DictReader(opened) if row["split"] == "test"]
    assert rows == [texts[number % 4] for number in range(9)] and len(set(texts)) > 1
    answer = hpc_dl("embed", run.path, file, "--out", tmp_path / "vectors.h5")
    assert answer.status == 0, answer.err
    with h5py.File(tmp_path / "vectors.h5") as results:
        assert results["test/embeddings"].shape == (9, 8)
