"""The labels that a model has learned stay with its weights, whatever the data file holds later."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data.spec import IGNORED
from hpc_dl.inference.evaluation import evaluate
from hpc_dl.inference.prediction import predict
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.runs.folder import RunFolder
from tests.experiments import classes, prepared, raw
from tests.training.attempts import finish

LABELS = np.array([b"left", b"none", b"right"])
SIZES = {"train": 48, "val": 13, "test": 11}


def write(path: Path, kept: slice = slice(None)) -> None:
    """Text labels, every ninth of them missing; only classes of ``kept`` occur."""
    with h5py.File(path, "w") as file:
        for seed, (split, size) in enumerate(SIZES.items()):
            samples = classes(size, seed)
            texts = LABELS[kept][samples.targets % len(LABELS[kept])]
            texts[::9] = b"?"
            file[f"{split}/inputs"], file[f"{split}/targets"] = samples.inputs, texts


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("texts")
    write(folder / "texts.h5")
    data = {"classes": "remap", "ignore_label": "?", "channels": "first"}
    return finish(prepared(folder, raw(folder / "texts.h5", data=data)))


@pytest.mark.slow
def test_evaluation_counts_labeled_samples_only(run: RunFolder) -> None:
    trained = TrainedModel.load(TrainedRun.open(run))
    assert trained.data.class_names == ("left", "none", "right")
    evaluation = evaluate(trained, "test")
    assert evaluation["classes"] == ["left", "none", "right"]
    assert np.sum(evaluation["confusion"]) == SIZES["test"] - 2
    assert 0 <= evaluation["metrics"]["accuracy"] <= 1 and np.isfinite(evaluation["metrics"]["loss"])
    assert (trained.batches.read_batch("test", np.arange(11))[1][::9] == IGNORED).all()


@pytest.mark.slow
def test_predictions_name_the_labels(run: RunFolder, tmp_path: Path) -> None:
    predict(TrainedModel.load(TrainedRun.open(run)), run.path.parents[1] / "texts.h5", tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert list(file.attrs["class_labels"]) == list(file.attrs["class_names"]) == ["left", "none", "right"]
        assert file["test/predictions"].shape == (11,)


def test_numbering_survives_another_file(run: RunFolder) -> None:
    write(run.path.parents[1] / "texts.h5", kept=slice(1, 3))
    trained = TrainedModel.load(TrainedRun.open(run))
    assert trained.data.class_names == ("left", "none", "right")
    confusion = np.array(evaluate(trained, "test")["confusion"])
    assert confusion[0].sum() == 0 and confusion.sum() == SIZES["test"] - 2
