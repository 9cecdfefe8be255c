"""Metrics by group: ``data.group``, from the file to the result."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import HpcDlError
from hpc_dl.learning.intervals import student_t, wilson
from hpc_dl.learning.supervised import Supervised
from hpc_dl.regular_files import read_json
from hpc_dl.training.metrics_by_group import metrics_by_group
from hpc_dl.training.model_building import build_model
from hpc_dl.training.train import train
from tests import experiments

SITES = np.array(["Oslo", "Łódź", "Bern"])


def with_groups(file: Path, **datasets: Any) -> Path:
    """Add datasets to every split; by default ``site``, one of three in turn."""
    with h5py.File(file, "a") as opened:
        for split in ("train", "val", "test"):
            names = SITES[np.arange(len(opened[split]["inputs"])) % 3].tolist()
            for name, values in (datasets or {"site": names}).items():
                opened[split][name] = values
    return file


def built(file: Path, **data: Any) -> tuple[Supervised, HDF5DataModule, Experiment]:
    raw = experiments.raw(file, model={"name": "mlp", "width": 8, "depth": 1})
    raw["data"] |= data
    experiment = Experiment.from_dict(raw)
    spec = open_spec(experiment.data)
    torch.manual_seed(0)
    model = build_model(experiment, spec)
    assert isinstance(model, Supervised)
    return model, HDF5DataModule.from_config(experiment.data, spec), experiment


def test_proportions_of_each_group(tmp_path: Path) -> None:
    model, batches, experiment = built(
        with_groups(experiments.classification_file(tmp_path)), group="site", batch_size=4
    )
    result = metrics_by_group(model, batches, experiment.data, "val", torch.device("cpu"))
    x, y = batches.preprocessed(batches.read_batch("val", np.arange(13)))
    predicted, y = model.eval()(x).argmax(1).numpy(), y.numpy()
    assert (result["by"], result["split"], result["intervals"]) == ("site", "val", "Wilson")
    assert [group["group"] for group in result["groups"]] == ["Bern", "Oslo", "Łódź"]
    assert [group["samples"] for group in result["groups"]] == [4, 5, 4]
    for group in result["groups"]:
        mine = SITES[np.arange(13) % 3] == group["group"]
        right = int((predicted[mine] == y[mine]).sum())
        low, high = wilson(right, int(mine.sum()))
        assert group["metrics"]["accuracy"] == {
            "value": right / mine.sum(),
            "low": low,
            "high": high,
            "count": mine.sum(),
        }
        rate = group["metrics"]["positive_rate/gray"]
        assert rate["value"] == (predicted[mine] == 1).mean() and rate["count"] == mine.sum()
    # A group has one class only here, so the others have no recall.
    assert [[name for name in group["metrics"] if name.startswith("recall")] for group in result["groups"]] == [
        ["recall/light"], ["recall/dark"], ["recall/gray"]
    ]  # fmt: skip


def test_errors_of_each_group(tmp_path: Path) -> None:
    file = experiments.regression_file(tmp_path)
    with h5py.File(file, "a") as opened:
        for split in opened.values():
            split["scanner"] = [10, 9, *[9] * (len(split["inputs"]) - 2)]
    model, batches, experiment = built(file, group="scanner")
    result = metrics_by_group(model, batches, experiment.data, "test", torch.device("cpu"))
    x, y = batches.preprocessed(batches.read_batch("test", np.arange(11)))
    errors = (model.eval()(x) - y.reshape(-1, 1)).detach().numpy()[:, 0]
    assert result["intervals"] == "Student's t"
    many, one = result["groups"]
    assert (many["group"], many["samples"], one["group"], one["samples"]) == ("9", 10, "10", 1)
    mean, half = student_t(np.abs(errors[1:]))
    assert many["metrics"]["mae"]["value"] == pytest.approx(mean, rel=1e-5)
    assert many["metrics"]["mae"]["high"] == pytest.approx(mean + half, rel=1e-5)
    assert many["metrics"]["bias"]["value"] == pytest.approx(errors[1:].mean(), rel=1e-4)
    assert one["metrics"]["bias"]["low"] is None


def test_groups_of_a_file_without_splits(tmp_path: Path) -> None:
    samples = experiments.classes(60, 0, num_classes=2)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        file["inputs"], file["targets"], file["sex"] = samples.inputs, samples.targets, [b"f", b"m", b"m"] * 20
    fractions = {"train": 0.5, "val": 0.2, "test": 0.3}
    model, batches, experiment = built(tmp_path / "all.h5", group="/sex", splits={"fractions": fractions})
    result = metrics_by_group(model, batches, experiment.data, "test", torch.device("cpu"))
    assert sum(group["samples"] for group in result["groups"]) == 18
    assert result["positive_class"] == "1"
    assert set(result["groups"][0]["metrics"]) == {"accuracy", "recall", "positive_rate"}


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (None, r":/train/site: does not exist .*Correct `data.group`"),
        (np.zeros((48, 2), int), r"must have one integer or text for each sample \(got 'int64 of shape \(48, 2\)'"),
        (np.zeros(48), r"got 'float64 of shape \(48,\)'"),
        (np.zeros(47, int), r"allowed: shape \(48,\)"),
    ],
)
def test_faults(tmp_path: Path, dataset: Any, message: str) -> None:
    file = experiments.classification_file(tmp_path)
    with h5py.File(file, "a") as opened:
        if dataset is not None:
            opened["train/site"] = dataset
        opened["val/site"], opened["test/site"] = np.zeros(13, int), np.zeros(11, int)
    with pytest.raises(HpcDlError, match=message):
        built(file, group="site")


def test_too_many_groups(tmp_path: Path) -> None:
    file = with_groups(experiments.classification_file(tmp_path, {"train": 120, "val": 13, "test": 11}))
    with h5py.File(file, "a") as opened:
        del opened["train/site"]
        opened["train/site"] = np.arange(120)
    with pytest.raises(HpcDlError, match=r"too many groups .*got 120; allowed: up to 100"):
        built(file, group="site")


def test_tasks_without_metrics_by_group(tmp_path: Path) -> None:
    file = with_groups(experiments.classification_file(tmp_path))
    with pytest.raises(HpcDlError, match=r"data\.group: works for classification and regression only"):
        built(file, group="site", task="reconstruction")


@pytest.mark.slow
def test_result_has_the_groups(tmp_path: Path) -> None:
    file = with_groups(experiments.classification_file(tmp_path))
    raw = experiments.raw(file)
    raw["data"] |= {"group": "site"}
    run = experiments.prepared(tmp_path, raw)
    train(run)
    result = read_json(run.result)
    groups = result["by_group"]["groups"]
    assert sum(group["samples"] for group in groups) == 11
    right = sum(group["metrics"]["accuracy"]["value"] * group["samples"] for group in groups)
    assert right / 11 == pytest.approx(result["metrics"]["test/accuracy"])


@pytest.mark.slow
def test_result_is_kept_if_the_groups_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def out_of_memory(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    file = with_groups(experiments.classification_file(tmp_path))
    raw = experiments.raw(file)
    raw["data"] |= {"group": "site"}
    run = experiments.prepared(tmp_path, raw)
    monkeypatch.setattr("hpc_dl.training.metrics_by_group.wilson", out_of_memory)
    train(run)
    assert "by_group" not in read_json(run.result)
    said = "".join(capfd.readouterr())
    assert "The metrics by group could not be computed: OutOfMemoryError: out of memory" in said
