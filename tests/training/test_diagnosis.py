"""The diagnosis of a finished training."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.config.experiment import Experiment
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.open_spec import open_spec
from hpc_dl.learning.supervised import Supervised
from hpc_dl.regular_files import read_json
from hpc_dl.training.advice import advise
from hpc_dl.training.diagnosis import _sample, classify_fit, constant_loss, diagnose, still_falling
from hpc_dl.training.model_building import build_model
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
    ("train_loss", "val_loss", "fit"),
    [
        (0.1, 0.2, "good"),
        (0.1, 0.9, "overfit"),
        (0.1, 0.4, "overfit"),  # low, but far above the training loss
        (0.9, 0.9, "underfit"),
        (0.9, 0.3, "unlikely"),
        (math.nan, 0.3, "diverged"),
        (0.1, math.inf, "diverged"),
    ],
)
def test_fit_from_losses(train_loss: float, val_loss: float, fit: str) -> None:
    assert classify_fit({"train": train_loss, "val": val_loss, "constant": 1.0}) == fit


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "fit"),
    [
        (0.31, 0.29, "good"),  # about equal, on both sides of what counts as high
        (0.31, 0.31, "underfit"),
        (0.29, 0.32, "underfit"),
        (0.25, 0.05, "good"),
        (0.9, 0.6, "underfit"),
    ],
)
def test_losses_that_hardly_differ_are_judged_together(train_loss: float, val_loss: float, fit: str) -> None:
    assert classify_fit({"train": train_loss, "val": val_loss, "constant": 1.0}) == fit


@pytest.mark.parametrize(
    ("train_loss", "val_loss", "surely", "perhaps"),
    [(0.1, 0.4, "overfit", "good"), (0.45, 0.25, "unlikely", "underfit"), (0.1, 0.9, "overfit", "underfit")],
)
def test_difference_is_judged_against_its_scatter(
    train_loss: float, val_loss: float, surely: str, perhaps: str
) -> None:
    """The standard error of a difference is √(σ_train² + σ_val²); within two it is chance."""
    losses = {"train": train_loss, "val": val_loss, "constant": 1.0}
    difference = abs(train_loss - val_loss)
    for share, expected in ((0.49, surely), (0.51, perhaps)):
        errors = {"train": 0.6 * share * difference, "val": 0.8 * share * difference}
        assert classify_fit(losses, errors) == expected
    assert classify_fit(losses, {"train": 0.01, "val": math.inf}) == perhaps, "a single batch has no scatter"


def test_standard_error_is_that_of_the_batch_means(tmp_path: Path) -> None:
    model, batches = built(experiments.regression_file(tmp_path))
    diagnosis = diagnose(model, batches, CPU)
    train = _sample(batches, "train", model, CPU)
    with torch.no_grad():
        means = torch.tensor([model.recipe.task.loss(model.eval()(x), y) for x, y in train])
    assert len(means) == 16 and {len(y) for _, y in train} == {3}
    assert diagnosis["errors"]["train"] == pytest.approx((means.std() / 4).item(), rel=1e-3)
    assert "training " in diagnosis["advice"][0] and " ± " in diagnosis["advice"][0]


@pytest.mark.parametrize("fit", ["good", "overfit", "unknown", "underfit", "unlikely"])
def test_no_cause_that_evaluation_excludes(fit: str) -> None:
    """Losses are measured in evaluation mode, without dropout: it cannot raise one of them."""
    words = " ".join(advise(fit, {"train": 0.1, "constant": 1.0}, {}, {}, {}, still_falling=False))
    assert "strong dropout" not in words and "less dropout" not in words


def test_vanished_gradients_are_not_met_with_a_larger_model() -> None:
    losses = {"train": 0.9, "val": 0.9, "constant": 1.0}
    general = " ".join(advise("underfit", losses, {"a": 1.0}, {}, {}, still_falling=False))
    assert "larger model" in general and "fewer layers" not in general
    vanished = " ".join(advise("underfit", losses, {"a": 1.0, "b": 0.0}, {}, {}, still_falling=False))
    assert "fewer layers" in vanished and "larger model" not in vanished and "underfits" in vanished


@pytest.mark.parametrize(
    ("validations", "expected"),
    [
        ([1.0, 0.5, 0.3, 0.2], True),
        ([1.0, 0.5, 0.3, 0.295], False),  # by too little
        ([1.0, 0.5, 0.2, 0.3], False),
        ([1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.45], False),  # the last one has risen again
        ([1.0, 0.2], False),  # too few
        ([], False),
        ([1.0, 0.5, 0.3, math.nan], False),
    ],
)
def test_still_falling(validations: list[float], expected: bool) -> None:
    assert still_falling(validations) == expected


def test_overfitting_cannot_be_checked_without_validation() -> None:
    losses = {"train": 0.1, "constant": 1.0}
    assert classify_fit(losses) == "unknown"
    (sentence,) = advise("unknown", losses, {}, {}, {}, still_falling=False)
    assert sentence == (
        "The training loss is low. Without a validation split, overfitting cannot be checked. "
        "(Losses in evaluation mode: training 0.1, constant prediction 1.)"
    )


def test_no_advice_on_a_missing_validation(tmp_path: Path) -> None:
    diagnosis = diagnose(*built(experiments.classification_file(tmp_path, {"train": 48})), CPU)
    assert diagnosis["fit"] == "underfit" and "alidation" not in diagnosis["advice"][0].partition("Try")[0]


def test_perceptron_is_evaluated_by_its_error_rate(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    experiment = Experiment.from_dict(experiments.raw(file, model={"name": "perceptron"}))
    data = open_spec(experiment.data)
    network = build_model(experiment, data)
    assert isinstance(network, Supervised)
    losses = diagnose(network, HDF5DataModule.from_config(experiment.data, data), CPU)["losses"]
    assert losses["constant"] == pytest.approx(2 / 3, abs=0.01)
    errors = losses["train"] * 48  # training samples
    assert errors == pytest.approx(round(errors), abs=1e-3) and 0 <= errors <= 48


def test_constant_loss_of_classes(tmp_path: Path) -> None:
    diagnosis = diagnose(*built(experiments.classification_file(tmp_path)), CPU)
    assert diagnosis["losses"]["constant"] == pytest.approx(math.log(3), rel=1e-3)  # three classes of equal size
    assert diagnosis["fit"] == "underfit"  # the weights are untrained


def test_constant_loss_of_values_is_their_variance(tmp_path: Path) -> None:
    file = experiments.regression_file(tmp_path)
    model, batches = built(file)
    y = torch.cat([y for _, y in batches.train_dataloader()])  # 48 samples are six complete batches
    assert diagnose(model, batches, CPU)["losses"]["constant"] == pytest.approx(y.var(correction=0).item(), rel=1e-4)


def test_dead_and_saturated_units(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    model, batches = built(file, activation="relu")
    with torch.no_grad():
        model.hidden[0].bias[:6] = -1e3  # type: ignore[index, union-attr, operator]
    diagnosis = diagnose(model, batches, CPU)
    assert diagnosis["dead"] == {"hidden.1": pytest.approx(6 / 8, abs=0.13)}
    assert any("dead" in sentence for sentence in diagnosis["advice"])
    model, batches = built(file, activation="tanh")
    assert diagnose(model, batches, CPU)["saturated"] == {}
    with torch.no_grad():
        model.hidden[0].weight.mul_(1e3)  # type: ignore[union-attr, operator]
    diagnosis = diagnose(model, batches, CPU)
    assert diagnosis["saturated"]["hidden.1"] > 0.9
    assert any("saturated" in sentence for sentence in diagnosis["advice"])


@pytest.mark.parametrize("fit", ["good", "overfit", "unknown", "underfit", "unlikely", "diverged"])
def test_advice_about_units_follows_from_the_fit(fit: str) -> None:
    losses = {"train": 0.1, "constant": 1.0}
    words = " ".join(advise(fit, losses, {"a": 1.0, "b": 0.0}, {"a": 0.5}, {"b": 0.6}, still_falling=False))
    cures = ["leaky_relu", "data.scaling", "Almost no gradient"]
    observed = ["50% of the units after a are dead", "60% of the units after b are saturated"]
    if fit == "diverged":  # all of this is a consequence
        assert not any(part in words for part in cures + observed)
    else:
        assert all(part in words for part in observed)
        assert [part in words for part in cures] == [fit in ("underfit", "unlikely")] * 3


@pytest.mark.parametrize("falling", [True, False])
def test_early_stopping_is_not_advised_while_the_loss_falls(falling: bool) -> None:
    words = " ".join(advise("overfit", {"train": 0.1, "constant": 1.0}, {}, {}, {}, still_falling=falling))
    assert ("longer training" in words) == falling == ("arly stopping" not in words)


def test_vanished_gradient_is_reported(tmp_path: Path) -> None:
    model, batches = built(experiments.classification_file(tmp_path), depth=3, activation="sigmoid")
    with torch.no_grad():
        for layer in (2, 4):
            model.hidden[layer].weight.mul_(1e-3)  # type: ignore[index, union-attr, operator]
    diagnosis = diagnose(model, batches, CPU)
    assert set(diagnosis["gradients"]) == {"hidden.0", "hidden.2", "hidden.4", "head"}
    assert any("Almost no gradient reaches hidden.0" in sentence for sentence in diagnosis["advice"])


def test_model_is_restored(tmp_path: Path) -> None:
    model, batches = built(experiments.classification_file(tmp_path), dropout=0.5)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    diagnose(model, batches, CPU)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
def test_result_and_log_contain_the_diagnosis(tmp_path: Path) -> None:
    content = experiments.raw(experiments.classification_file(tmp_path), trainer={"max_epochs": 60})
    run = experiments.prepared(tmp_path, content)
    train(run)
    diagnosis = read_json(run.result)["diagnosis"]
    assert diagnosis["fit"] == "good"
    assert diagnosis["advice"][0] in run.log(0).read_text()


def test_constant_loss_with_class_weights(tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    raw = experiments.raw(file, model={"name": "linear"}, loss={"class_weights": "balanced"})
    experiment = Experiment.from_dict(raw)
    model = build_model(experiment, open_spec(experiment.data))
    assert isinstance(model, Supervised)
    labels = torch.tensor([0] * 20 + [1] * 16 + [2] * 12)
    weights = model.recipe.task.weights
    assert weights is not None
    loss = constant_loss(model.recipe.task, [labels])
    logits = torch.zeros(3, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200)

    def weighted_loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = model.recipe.task.loss(logits.expand(len(labels), 3), labels)
        value.backward()
        return value

    optimizer.step(weighted_loss)
    assert loss == pytest.approx(weighted_loss().item(), rel=1e-4)


def test_loss_far_above_the_constant_one_means_divergence() -> None:
    assert classify_fit({"train": 1e6, "val": 1e6, "constant": 1.1}) == "diverged"
