"""What is said of a finished training."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.atomic_files import read_json
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import open_spec
from hpc_dl.learning.supervised import Supervised
from hpc_dl.training.diagnosis import _constant_loss, _fit, _still_falls, diagnose
from hpc_dl.training.preflight import build_model
from hpc_dl.training.train import train
from tests import experiments

CPU = torch.device("cpu")


def built(file: Path, **model: Any) -> tuple[Supervised, HDF5DataModule]:
    experiment = Experiment.from_dict(experiments.raw(file, model={"name": "mlp", "width": 8, "depth": 1, **model}))
    data = open_spec(experiment.data)
    torch.manual_seed(0)
    network = build_model(experiment, data)
    assert isinstance(network, Supervised)
    return network, HDF5DataModule.from_config(experiment.data, data)


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "wanted"),
    [
        (0.1, 0.2, "good"),
        (0.1, 0.9, "overfit"),
        (0.1, 0.4, "overfit"),  # low still, but far above the training's
        (0.9, 0.9, "underfit"),
        (0.9, 0.3, "unlikely"),
        (math.nan, 0.3, "diverged"),
        (0.1, math.inf, "diverged"),
    ],
)
def test_the_four_cells(train_loss: float, val_loss: float, wanted: str) -> None:
    assert _fit({"train": train_loss, "val": val_loss, "constant": 1.0}) == wanted


@pytest.mark.parametrize(
    ("validations", "falls"),
    [
        ([1.0, 0.5, 0.3, 0.2], True),
        ([1.0, 0.5, 0.3, 0.295], False),  # hardly
        ([1.0, 0.5, 0.2, 0.3], False),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.45], False),  # up again at the very end
        ([1.0, 0.2], False),  # too few to tell
        ([], False),
        ([1.0, 0.5, 0.3, math.nan], False),
    ],
)
def test_a_loss_that_still_falls(validations: list[float], falls: bool) -> None:
    assert _still_falls(validations) == falls


def test_without_a_validation_nothing_is_said_of_one(tmp_path: Path) -> None:
    assert _fit({"train": 0.1, "constant": 1.0}) == "unknown"
    found = diagnose(*built(experiments.classification_file(tmp_path, {"train": 48})), CPU)
    assert found["fit"] == "underfit" and "alidation" not in found["words"][0].partition("Try")[0]


def test_a_perceptron_is_judged_by_its_mistakes(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    experiment = Experiment.from_dict(experiments.raw(file, model={"name": "perceptron"}))
    data = open_spec(experiment.data)
    network = build_model(experiment, data)
    assert isinstance(network, Supervised)
    losses = diagnose(network, HDF5DataModule.from_config(experiment.data, data), CPU)["losses"]
    assert losses["constant"] == pytest.approx(2 / 3, abs=0.01)
    assert 0 <= losses["train"] <= 1


def test_the_constant_answer_knows_the_shares_of_the_classes(tmp_path: Path) -> None:
    found = diagnose(*built(experiments.classification_file(tmp_path)), CPU)
    assert found["losses"]["constant"] == pytest.approx(math.log(3), rel=1e-3)  # three classes, equally many
    assert found["fit"] == "underfit"  # it has not begun to learn


def test_the_constant_answer_of_values_is_their_mean(tmp_path: Path) -> None:
    file = experiments.regression_file(tmp_path)
    model, batches = built(file)
    y = torch.cat([y for _, y in batches.train_dataloader()])  # 48 samples: six whole batches
    assert diagnose(model, batches, CPU)["losses"]["constant"] == pytest.approx(y.var(correction=0).item(), rel=1e-4)


def test_dead_and_saturated_units_are_found(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    model, batches = built(file, activation="relu")
    with torch.no_grad():
        model.hidden[0].bias[:6] = -1e3  # type: ignore[index, union-attr, operator]
    found = diagnose(model, batches, CPU)
    assert found["dead"] == {"hidden.1": pytest.approx(6 / 8, abs=0.13)}
    assert any("dead" in sentence for sentence in found["words"])
    model, batches = built(file, activation="tanh")
    assert diagnose(model, batches, CPU)["saturated"] == {}
    with torch.no_grad():
        model.hidden[0].weight.mul_(1e3)  # type: ignore[union-attr, operator]
    found = diagnose(model, batches, CPU)
    assert found["saturated"]["hidden.1"] > 0.9
    assert any("saturated" in sentence for sentence in found["words"])


def test_a_layer_that_no_gradient_reaches_is_named(tmp_path: Path) -> None:
    model, batches = built(experiments.classification_file(tmp_path), depth=3, activation="sigmoid")
    with torch.no_grad():
        for layer in (2, 4):
            model.hidden[layer].weight.mul_(1e-3)  # type: ignore[index, union-attr, operator]
    found = diagnose(model, batches, CPU)
    assert set(found["gradients"]) == {"hidden.0", "hidden.2", "hidden.4", "head"}
    assert any("Hardly any gradient reaches hidden.0" in sentence for sentence in found["words"])


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    model, batches = built(experiments.classification_file(tmp_path), dropout=0.5)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    diagnose(model, batches, CPU)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_result_and_the_log_hold_it(tmp_path: Path) -> None:
    content = experiments.raw(experiments.classification_file(tmp_path), trainer={"max_epochs": 60})
    run = experiments.prepared(tmp_path, content)
    train(run)
    found = read_json(run.result)["diagnosis"]
    assert found["fit"] == "good"
    assert found["words"][0] in run.log(0).read_text()


def test_the_constant_answer_knows_the_weights_of_the_classes(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    raw = experiments.raw(file, model={"name": "linear"}, loss={"class_weights": "balanced"})
    experiment = Experiment.from_dict(raw)
    model = build_model(experiment, open_spec(experiment.data))
    assert isinstance(model, Supervised)
    labels = torch.tensor([0] * 20 + [1] * 16 + [2] * 12)
    weights = model.recipe.task.weights
    assert weights is not None
    found = _constant_loss(model.recipe.task, [labels])
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = model.recipe.task.loss(logits.expand(len(labels), 3), labels)
        value.backward()
        return value

    optimizer.step(loss)
    assert found == pytest.approx(float(loss()), rel=1e-4)


def test_a_loss_far_above_the_constant_one_has_diverged() -> None:
    assert _fit({"train": 1e6, "val": 1e6, "constant": 1.1}) == "diverged"
