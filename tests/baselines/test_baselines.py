"""Baselines on the same splits, and the verdict that compares them with networks."""

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpc_dl.baselines.compare import compare, verdict
from hpc_dl.baselines.features import position_rows, rows_of
from hpc_dl.baselines.fitting import TASKS_WITH_BASELINES
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.ragged import Ragged
from hpc_dl.errors import ConfigError
from hpc_dl.regular_files import read_json
from hpc_dl.training.train import train
from tests import experiments

pytestmark = pytest.mark.slow

ABOUT: Any = {"source": "toy", "license": "CC0-1.0"}


def compared(tmp_path: Path, file: Path, **sections: Any) -> dict[str, Any]:
    experiment = Experiment.from_dict(experiments.raw(file, **sections))
    return compare(experiment, runs=tmp_path / "runs", data_dir=None, seeds=2, say=lambda _: None)


def by_name(comparison: dict[str, Any], metric: str) -> dict[str, float]:
    return {model["name"]: float(np.mean(model["metrics"][metric])) for model in comparison["simple"]}


def test_classification_baselines(tmp_path: Path) -> None:
    comparison = compared(tmp_path, experiments.classification_file(tmp_path, {"train": 90, "val": 30, "test": 30}))
    accuracy = by_name(comparison, "test/accuracy")
    assert accuracy.pop("constant") == pytest.approx(1 / 3)
    assert set(accuracy) == {"logistic", "k-NN", "forest", "gradient boosting"}
    assert accuracy["logistic"] > 0.9 and accuracy["forest"] > 0.9  # the class is the brightness
    assert accuracy[comparison["best"]["name"]] == max(accuracy.values())
    assert "There is no finished run" in comparison["verdict"]


def test_regression_baselines(tmp_path: Path) -> None:
    r2 = by_name(compared(tmp_path, experiments.regression_file(tmp_path, 2)), "test/r2")
    assert r2["linear"] == max(r2.values()) > 0.95  # the data are a linear function
    assert r2["constant"] < 0.1


def test_results_and_comparison_with_finished_runs(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    best = compared(tmp_path, file)["best"]
    runs = []
    for seed in (1, 2):
        run = experiments.prepared(tmp_path, experiments.raw(file, seed=seed, trainer={"max_epochs": 2}))
        train(run)
        assert read_json(run.result)["baseline"] == {"metric": "test/accuracy", **best}
        assert f"best baseline ({best['name']})" in run.log(0).read_text()
        runs.append(read_json(run.result)["metrics"]["test/accuracy"])
    comparison = compared(tmp_path, file)
    assert comparison["networks"] == {"mlp": pytest.approx(runs)}
    assert re.fullmatch(r"2 epochs \([0-9.:]+ (s|min)\)", comparison["trainings"]["mlp"])
    longer = experiments.prepared(tmp_path, experiments.raw(file, trainer={"max_epochs": 3}))
    train(longer)
    networks = compared(tmp_path, file)["networks"]
    assert set(networks) == {"mlp", f"mlp, as in {longer.name}"}, (
        "runs with another number of epochs are listed separately"
    )
    other = experiments.classification_file(tmp_path / "..", {"train": 24, "val": 6, "test": 6})
    assert compared(tmp_path, other)["networks"] == {}, "runs on other data do not count"


def test_segmentation_by_neighborhoods_and_otsu(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    masks = np.zeros((12, 16, 16), np.int64)
    masks[:, 4:12, 3:9] = 1
    images = (60 + 100 * masks + generator.normal(0, 10, masks.shape)).clip(0, 255).astype(np.uint8)[:, None]
    parts = {"train": slice(0, 6), "val": slice(6, 9), "test": slice(9, 12)}
    splits = {split: Samples(images[part], masks[part]) for split, part in parts.items()}
    write(tmp_path / "m.h5", splits, task="segmentation", class_names=["back", "front"], **ABOUT)
    iou = by_name(compared(tmp_path, tmp_path / "m.h5", model={"name": "cnn"}), "test/iou")
    assert iou["Otsu's threshold"] > 0.99 and iou["logistic"] > 0.99 > iou["constant"]


def test_neighborhood_of_a_pixel() -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 1, 3, 4)
    rows = position_rows(x, np.zeros((1, 3, 4), np.int64)).x
    assert rows.shape == (12, 9)
    assert rows[5].tolist() == [0, 1, 2, 4, 5, 6, 8, 9, 10]  # around the 5
    assert rows[0].tolist() == [0, 0, 1, 0, 0, 1, 4, 4, 5]  # at a corner the edge is repeated


def test_rows_of_sequences_graphs_and_tokens(tmp_path: Path) -> None:
    steps = Ragged(np.arange(12, dtype=np.float32).reshape(6, 2), np.array([0, 2, 6]))
    train_split = {"inputs": steps, "targets": np.array([0, 1])}
    write(tmp_path / "s.h5", {"train": train_split}, task="classification", **ABOUT)
    batches = HDF5DataModule(tmp_path / "s.h5", scaling="none")
    rows = rows_of(batches, "train", None)
    assert rows.x.shape == (2, 13)
    assert rows.x[0].tolist() == [1, 2, 1, 1, 0, 1, 2, 3, 0, 1, 2, 3, 2]

    nodes = Ragged(np.ones((3, 1), np.float32), np.array([0, 3]))
    edges = Ragged(np.array([[0, 1], [0, 2]]), np.array([0, 2]))
    graph = {"nodes": nodes, "edges": edges, "targets": Ragged(np.array([0, 1, 1]), nodes.offsets)}
    write(tmp_path / "g.h5", {"train": graph}, task="node_classification", inputs=("nodes", "edges"), **ABOUT)
    rows = rows_of(HDF5DataModule(tmp_path / "g.h5", scaling="none"), "train", None)
    assert np.expm1(rows.x[:, 1:]).round().tolist() == [[2, 0], [0, 1], [0, 1]]  # edges out, edges in

    tokens = Ragged(np.array([0, 1, 0, 1, 1]), np.array([0, 3, 5]))
    labeled = {"inputs": tokens, "targets": Ragged(np.array([1, 0, 1, 0, 0]), tokens.offsets)}
    write(tmp_path / "l.h5", {"train": labeled, "test": labeled}, task="sequence_labeling", class_names="ab", **ABOUT)
    accuracy = by_name(compared(tmp_path, tmp_path / "l.h5", data={"batch_size": 1}), "test/accuracy")
    assert accuracy["forest"] == 1.0

    stream = {"inputs": np.tile(np.array([0, 1, 2], np.uint8), 200)}
    splits = {"train": stream, "test": stream}
    write(tmp_path / "t.h5", splits, task="language_modeling", targets=(), stream=True, class_names="abc", **ABOUT)
    comparison = compared(tmp_path, tmp_path / "t.h5", data={"windows": {"length": 20}, "batch_size": 4})
    bits = by_name(comparison, "test/bits_per_step")
    assert bits["1-gram"] == pytest.approx(math.log2(3), abs=0.01)
    assert bits["2-gram"] < 0.1 and comparison["best"]["name"] != "1-gram"  # each token determines the next


def test_principal_components_reconstruct_a_plane(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    plane = generator.normal(size=(60, 2)) @ generator.normal(size=(2, 12))
    x = (plane + 0.01 * generator.normal(size=plane.shape)).astype(np.float32)
    splits = {"train": {"inputs": x[:40]}, "test": {"inputs": x[40:]}}
    write(tmp_path / "r.h5", splits, task="reconstruction", targets=(), **ABOUT)
    error = by_name(
        compared(tmp_path, tmp_path / "r.h5", data={"scaling": "none", "batch_size": 4}), "test/squared_error"
    )
    assert error["PCA, 2 components"] == pytest.approx(10 * 0.01**2, rel=0.4)  # the noise off the plane


def test_task_without_baselines_is_refused(tmp_path: Path) -> None:
    write(
        tmp_path / "g.h5", {"train": {"inputs": np.zeros((9, 2), np.float32)}}, task="generation", targets=(), **ABOUT
    )
    with pytest.raises(ConfigError, match=r"data\.task: has no baseline \(got 'generation'"):
        compared(tmp_path, tmp_path / "g.h5")
    assert "generation" not in TASKS_WITH_BASELINES


@pytest.mark.parametrize(
    ("networks", "metric", "sentence"),
    [
        ({"cnn": [0.99, 0.991, 0.99]}, "test/accuracy", "The network is better by 0.0"),
        ({"cnn": [0.99]}, "test/accuracy", "(one seed only"),
        ({"cnn": [0.90, 0.91, 0.90]}, "test/accuracy", "The baseline is better by 0.0467"),
        ({"cnn": [0.90, 0.99, 0.97]}, "test/accuracy", "No significant difference"),
        ({"cnn": [1.0, 1.0, 1.0], "mlp": [0.5, 0.5, 0.5]}, "test/mse", "The network is better by 0.45: mlp"),
        ({}, "test/accuracy", "There is no finished run"),
    ],
)
def test_verdict_follows_from_the_intervals(networks: dict[str, list[float]], metric: str, sentence: str) -> None:
    assert sentence in verdict({"name": "k-NN", "mean": 0.95, "half_width": None}, networks, metric)


def test_verdict_says_how_long_the_network_was_trained() -> None:
    best = {"name": "k-NN", "mean": 0.95, "half_width": None}
    assert verdict(best, {"cnn": [0.9]}, "test/accuracy", {"cnn": "1 epoch (4.0 s)"}) == (
        "The baseline is better by 0.05: cnn reaches 0.9 with one seed after 1 epoch (4.0 s) of training; the best "
        "baseline, k-NN, reaches test/accuracy 0.95. More epochs or other settings may change this."
    )


def test_comparison_is_json(tmp_path: Path) -> None:
    comparison = compared(tmp_path, experiments.classification_file(tmp_path))
    assert json.loads(json.dumps(comparison)) == comparison
