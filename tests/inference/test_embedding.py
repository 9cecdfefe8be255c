"""``hpc-dl embed``: the last hidden layer, or the code."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.ragged import Ragged
from hpc_dl.runs.folder import RunFolder
from tests import experiments
from tests.cli.conftest import HpcDl
from tests.inference.conftest import Train, load


@pytest.mark.slow
def test_embeddings_are_what_the_last_layer_reads(hpc_dl: HpcDl, image_run: RunFolder, tmp_path: Path) -> None:
    file, out = experiments.classification_file(tmp_path), tmp_path / "embeddings.h5"
    answer = hpc_dl("embed", image_run.path, file, "--out", out, "--json")
    assert answer.status == 0, answer.err
    assert answer.json == {
        "run": image_run.name,
        "out": str(out),
        "samples": {"train": 48, "val": 13, "test": 11},
        "shape": [8],
    }
    model = load(image_run).model
    assert hpc_dl("predict", image_run.path, file, "--out", tmp_path / "predictions.h5").status == 0
    with h5py.File(out) as embedded, h5py.File(tmp_path / "predictions.h5") as predicted:
        assert embedded.attrs["run"] == image_run.name and list(embedded["test"]) == ["embeddings"]
        with torch.no_grad():
            outputs = model.head(torch.from_numpy(embedded["test/embeddings"][()]))  # type: ignore[operator]
        np.testing.assert_allclose(outputs.softmax(1), predicted["test/probabilities"][()], atol=1e-6)
    answer = hpc_dl("embed", image_run.path, file, "--out", out)
    assert answer.status == 2 and "embeddings.h5: already exists" in answer.err
    answer = hpc_dl("embed", image_run.path, file, "--out", tmp_path / "embeddings.csv")
    assert answer.status == 2 and "is not a format for embeddings (allowed: .h5, .hdf5)" in answer.err


@pytest.mark.slow
def test_codes_of_an_autoencoder(hpc_dl: HpcDl, train: Train, tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    data = {"targets": None, "task": "reconstruction"}
    run = train(file, data=data, model={"name": "autoencoder", "widths": [8], "code": 3})
    answer = hpc_dl("embed", run.path, file, "--out", tmp_path / "codes.h5", "--json")
    assert answer.status == 0 and answer.json["shape"] == [3], answer.err
    trained = load(run)
    (inputs, *_) = trained.batches.preprocessed(trained.batches.read_batch("val", np.arange(13)))  # type: ignore[union-attr]
    with torch.no_grad(), h5py.File(tmp_path / "codes.h5") as codes:
        np.testing.assert_allclose(codes["val/embeddings"][()], trained.model.encode(inputs), atol=1e-5)  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.parametrize("per_step", [True, False])
def test_samples_of_different_lengths(hpc_dl: HpcDl, train: Train, tmp_path: Path, per_step: bool) -> None:
    """A vector for each step if each has a class, else one for each sample."""
    random = np.random.default_rng(0)
    splits = {}
    for split, size in (("train", 32), ("val", 8), ("test", 6)):
        rows = [random.normal(size=(random.integers(1, 6), 2)).astype(np.float32) for _ in range(size)]
        labels = [(row[:, 0] > 0).astype(np.int64) for row in rows]
        splits[split] = Samples(Ragged.of(rows), Ragged.of(labels) if per_step else np.array([x[0] for x in labels]))
    task = "sequence_labeling" if per_step else "classification"
    write(tmp_path / "steps.h5", splits, source="steps", task=task, license="CC0-1.0", class_names=["low", "high"])
    run = train(tmp_path / "steps.h5", model={"name": "gru", "hidden": 5})
    answer = hpc_dl("embed", run.path, tmp_path / "steps.h5", "--out", tmp_path / "out.h5", "--json")
    assert answer.status == 0 and answer.json["shape"] == [5], answer.err
    model = load(run).model
    with h5py.File(tmp_path / "steps.h5") as file, h5py.File(tmp_path / "out.h5") as out:
        x = Ragged(*(torch.from_numpy(file[f"test/{name}"][()]) for name in ("inputs", "inputs_offsets")))
        embeddings = torch.from_numpy(out["test/embeddings"][()])
        assert ("embeddings_offsets" in out["test"]) == per_step
        if per_step:
            assert out["test/embeddings_offsets"][()].tolist() == x.offsets.tolist()
    scaled = Ragged(load(run).batches.preprocessed((x,))[0].values, x.offsets)
    with torch.no_grad():
        torch.testing.assert_close(model.head(embeddings), model(scaled), atol=1e-5, rtol=1e-4)  # type: ignore[operator]


@pytest.mark.slow
def test_model_without_hidden_layer(hpc_dl: HpcDl, train: Train, tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    run = train(file, model={"name": "linear"})
    answer = hpc_dl("embed", run.path, file, "--out", tmp_path / "out.h5")
    assert answer.status == 2 and "`embed` does not apply to linear with the task classification" in answer.err
    assert "Commands for this model: evaluate, predict" in answer.err
