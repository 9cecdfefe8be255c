"""Losses and metrics against values computed by hand."""

from dataclasses import replace

import pytest
import torch

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.task import LossConfig, Task
from tests.experiments import spec

CLASSES = spec()
VALUES = spec("regression", input_shape=(5,), num_outputs=1)


def computed(task: Task, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    metrics = task.metrics("val/")
    for outputs, targets in batches:
        task.update(metrics, outputs, targets)
    return {name: float(value) for name, value in metrics.compute().items()}


def test_classification_over_uneven_batches() -> None:
    # Class 0: 3 of 4 right; class 1: 0 of 1; class 2: 1 of 1. Six samples in batches of 4 and 2.
    outputs = 5 * torch.eye(3)[[0, 0, 0, 1, 0, 2]]
    targets = torch.tensor([0, 0, 0, 0, 1, 2])
    found = computed(Task(LossConfig(), CLASSES), [(outputs[:4], targets[:4]), (outputs[4:], targets[4:])])
    assert found == pytest.approx(
        {
            "val/accuracy": 4 / 6,
            "val/balanced_accuracy": (3 / 4 + 0 + 1) / 3,
            # F1 of a class: 2 hits / (2 hits + wrongly found + missed)
            "val/f1": (6 / (6 + 1 + 1) + 0 + 1) / 3,
        }
    )


@pytest.mark.parametrize("shape", [(6, 1), (6,)], ids=["N1", "N"])
def test_regression_over_uneven_batches(shape: tuple[int, ...]) -> None:
    outputs = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [7.0]])
    targets = torch.tensor([1.0, 2.0, 4.0, 4.0, 5.0, 5.0]).reshape(shape)
    task = Task(LossConfig(), VALUES)
    found = computed(task, [(outputs[:4], targets[:4]), (outputs[4:], targets[4:])])
    mean = 21 / 6
    scatter = sum((y - mean) ** 2 for y in (1, 2, 4, 4, 5, 5))
    assert found == pytest.approx({"val/mse": 5 / 6, "val/mae": 3 / 6, "val/r2": 1 - 5 / scatter})
    # (N, 1) against (N,) would broadcast to (N, N) without anybody noticing.
    assert task.loss(outputs, targets).item() == pytest.approx(5 / 6)


def test_regression_of_two_values() -> None:
    outputs, targets = torch.tensor([[1.0, 10.0], [3.0, 30.0]]), torch.tensor([[1.0, 20.0], [4.0, 20.0]])
    found = computed(Task(LossConfig(), spec("regression", (5,), num_outputs=2)), [(outputs, targets)])
    assert found["val/mse"] == pytest.approx((0 + 100 + 1 + 100) / 4)
    assert found["val/mae"] == pytest.approx((0 + 10 + 1 + 10) / 4)


def test_a_single_sample_has_no_r2_and_ends_no_training() -> None:
    found = computed(Task(LossConfig(), VALUES), [(torch.ones(1, 1), torch.zeros(1))])
    assert found["val/mse"] == 1
    assert found["val/r2"] != found["val/r2"]


@pytest.mark.parametrize(
    ("name", "data", "wanted"),
    [
        ("auto", CLASSES, torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).log_softmax(1).diagonal().mean().neg()),
        ("mse", VALUES, (0.5**2 + 2**2) / 2),
        ("auto", VALUES, (0.5**2 + 2**2) / 2),
        ("l1", VALUES, (0.5 + 2) / 2),
        ("huber", VALUES, (0.5 * 0.5**2 + (2 - 0.5)) / 2),
    ],
)
def test_losses(name: str, data: DataSpec, wanted: float) -> None:
    task = Task(LossConfig(name=name), data)  # type: ignore[arg-type]
    if data is CLASSES:
        outputs, targets = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1])
    else:
        outputs, targets = torch.tensor([[0.5], [-2.0]]), torch.tensor([0.0, 0.0])
    assert task.loss(outputs, targets).item() == pytest.approx(float(wanted))


@pytest.mark.parametrize(
    ("name", "data", "allowed"),
    [("mse", CLASSES, "cross_entropy"), ("cross_entropy", VALUES, "mse, l1, huber")],
)
def test_a_loss_that_does_not_fit(name: str, data: DataSpec, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Task(LossConfig(name=name), data)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"loss.name: does not fit /data/paper.h5, whose targets are made for {data.task} (data.task) "
        f"(got '{name}'; allowed: {allowed})"
    )


def test_data_that_no_architecture_takes_yet_are_refused_with_what_does() -> None:
    one, several = spec(), spec()
    ragged = replace(one, inputs=(replace(one.inputs[0], ragged=True),))
    by_name = replace(several, inputs=several.inputs * 2)
    cases = (
        (ragged, "samples of different lengths for classification"),
        (by_name, "several inputs or targets"),
        (replace(one, task="labelling"), "samples for labelling"),
    )
    for data, kind in cases:
        with pytest.raises(ConfigError, match=rf"data: gives {kind}, for which .*a LightningModule of your own"):
            Task(LossConfig(), data)
