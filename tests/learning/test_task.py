"""Losses and metrics of each task compared with values computed by hand."""

import math
from dataclasses import replace

import pytest
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec, Window
from hpc_dl.errors import ConfigError
from hpc_dl.learning.losses import COMPATIBLE_LOSSES, LossConfig, penalty
from hpc_dl.learning.task import Task
from tests.experiments import spec

CLASSES = spec()
VALUES = spec("regression", input_shape=(5,), num_outputs=1)


def computed(task: Task, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> dict[str, float]:
    metrics = task.metrics("val/")
    for outputs, targets in batches:
        task.update(metrics, outputs, targets)
    return {name: float(value) for name, value in metrics.compute().items()}


def test_classification_metrics_over_uneven_batches() -> None:
    # Class 0: 3 of 4 right; class 1: 0 of 1; class 2: 1 of 1. Six samples in batches of 4 and 2.
    outputs = 5 * torch.eye(3)[[0, 0, 0, 1, 0, 2]]
    targets = torch.tensor([0, 0, 0, 0, 1, 2])
    actual = computed(Task(LossConfig(), CLASSES), [(outputs[:4], targets[:4]), (outputs[4:], targets[4:])])
    assert actual == pytest.approx(
        {
            "val/accuracy": 4 / 6,
            "val/balanced_accuracy": (3 / 4 + 0 + 1) / 3,
            # F1 of a class: 2 TP / (2 TP + FP + FN)
            "val/f1": (6 / (6 + 1 + 1) + 0 + 1) / 3,
        }
    )


@pytest.mark.parametrize("shape", [(6, 1), (6,)], ids=["N1", "N"])
def test_regression_metrics_over_uneven_batches(shape: tuple[int, ...]) -> None:
    outputs = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [7.0]])
    targets = torch.tensor([1.0, 2.0, 4.0, 4.0, 5.0, 5.0]).reshape(shape)
    task = Task(LossConfig(), VALUES)
    actual = computed(task, [(outputs[:4], targets[:4]), (outputs[4:], targets[4:])])
    mean = 21 / 6
    scatter = sum((y - mean) ** 2 for y in (1, 2, 4, 4, 5, 5))
    assert actual == pytest.approx({"val/mse": 5 / 6, "val/mae": 3 / 6, "val/r2": 1 - 5 / scatter})
    # (N, 1) and (N,) would silently broadcast to (N, N).
    assert task.loss(outputs, targets).item() == pytest.approx(5 / 6)


def test_regression_metrics_of_two_outputs() -> None:
    outputs, targets = torch.tensor([[1.0, 10.0], [3.0, 30.0]]), torch.tensor([[1.0, 20.0], [4.0, 20.0]])
    actual = computed(Task(LossConfig(), spec("regression", (5,), num_outputs=2)), [(outputs, targets)])
    assert actual["val/mse"] == pytest.approx((0 + 100 + 1 + 100) / 4)
    assert actual["val/mae"] == pytest.approx((0 + 10 + 1 + 10) / 4)


def test_r2_of_a_single_sample_is_nan() -> None:
    actual = computed(Task(LossConfig(), VALUES), [(torch.ones(1, 1), torch.zeros(1))])
    assert actual["val/mse"] == 1
    assert actual["val/r2"] != actual["val/r2"]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        ("auto", CLASSES, torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).log_softmax(1).diagonal().mean().neg()),
        ("mse", VALUES, (0.5**2 + 2**2) / 2),
        ("auto", VALUES, (0.5**2 + 2**2) / 2),
        ("l1", VALUES, (0.5 + 2) / 2),
        ("huber", VALUES, (0.5 * 0.5**2 + (2 - 0.5)) / 2),
    ],
)
def test_losses_of_each_task(name: str, data: DataSpec, expected: float) -> None:
    task = Task(LossConfig(name=name), data)  # type: ignore[arg-type]
    if data is CLASSES:
        outputs, targets = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 1])
    else:
        outputs, targets = torch.tensor([[0.5], [-2.0]]), torch.tensor([0.0, 0.0])
    assert task.loss(outputs, targets).item() == pytest.approx(float(expected))


@pytest.mark.parametrize(
    ("name", "data", "compatible"),
    [
        ("mse", CLASSES, ("cross_entropy", "focal", "hinge", "perceptron")),
        ("cross_entropy", VALUES, ("mse", "half_mse", "l1", "huber")),
    ],
)
def test_incompatible_loss_raises(name: str, data: DataSpec, compatible: tuple[str, ...]) -> None:
    assert set(compatible) <= set(COMPATIBLE_LOSSES[data.task])
    allowed = ", ".join(COMPATIBLE_LOSSES[data.task])
    with pytest.raises(ConfigError) as caught:
        Task(LossConfig(name=name), data)  # type: ignore[arg-type]
    assert str(caught.value) == (
        f"loss.name: does not fit the task {data.task} (data.task) of /data/paper.h5 (got '{name}'; allowed: {allowed})"
    )


def test_metrics_by_name() -> None:
    names = list(Task(LossConfig(), CLASSES, ["top2", "auroc"]).metrics("val/"))
    assert names == ["val/auroc", "val/top2"]
    with pytest.raises(ConfigError, match=r"metrics: does not fit the task regression .*got 'accuracy'; allowed: mse"):
        Task(LossConfig(), VALUES, ["mse", "accuracy"])


def test_classes_per_pixel_and_per_step() -> None:
    pixels = replace(spec(input_shape=(1, 2, 2)), task="segmentation", targets=(FieldSpec("targets", (2, 2), "int64"),))
    task = Task(LossConfig(), pixels)
    assert task.output_shape == (3, 2, 2)
    labels = torch.tensor([[[0, 1], [1, 2]]])
    outputs = torch.nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2) * 20.0
    assert task.loss(outputs, labels).item() == pytest.approx(0, abs=1e-6)
    assert computed(task, [(outputs, labels)]) == {"val/accuracy": 1, "val/dice": 1, "val/iou": 1}
    wrong = outputs.flip(1)  # 0 and 2 exchanged
    assert computed(task, [(wrong, labels)]) == pytest.approx(
        {"val/accuracy": 1 / 2, "val/dice": 1 / 3, "val/iou": 1 / 3}
    )
    steps = Ragged(torch.tensor([0, 2, 1]), torch.tensor([0, 1, 3]))
    assert task.loss(torch.zeros(3, 3), steps).item() == pytest.approx(math.log(3))
    assert task.weight(steps) == 3


def test_bits_per_step() -> None:
    stream = FieldSpec("inputs", (4,), "uint8", window=Window(4, 4))
    data = replace(
        spec(), inputs=(stream,), task="language_modeling", targets=(FieldSpec("next inputs", (4,), "int64"),)
    )
    actual = computed(Task(LossConfig(), data), [(torch.zeros(2, 3, 4), torch.zeros(2, 4, dtype=torch.int64))])
    assert actual["val/bits_per_step"] == pytest.approx(math.log2(3))


def test_multilabel_task() -> None:
    task = Task(LossConfig(), replace(spec(), task="multilabel"))
    outputs, targets = torch.tensor([[9.0, -9.0, 9.0], [-9.0, -9.0, 9.0]]), torch.tensor([[1, 0, 1], [1, 0, 1]])
    assert task.loss(outputs, targets).item() == pytest.approx(9 / 6, abs=1e-3)
    actual = computed(task, [(outputs, targets)])
    assert actual["val/exact_match"] == 1 / 2 and actual["val/accuracy"] == pytest.approx(5 / 6)


def test_reconstruction() -> None:
    task = Task(LossConfig(), replace(spec(input_shape=(2, 2)), task="reconstruction", targets=()))
    assert task.output_shape == (2, 2)
    actual = computed(task, [(torch.zeros(2, 2, 2), torch.tensor([[[1.0, 2], [0, 0]], [[0, 0], [0, 3]]]))])
    assert actual == {"val/mse": 14 / 8, "val/squared_error": 7}


def test_penalty_covers_weights_only() -> None:
    layer = torch.nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -2.0]]))
    parameters = list(layer.parameters())
    assert penalty(parameters, LossConfig()) is None
    actual = penalty(parameters, LossConfig(l1=0.5, l2=0.1))
    assert actual is not None and actual.item() == pytest.approx(0.5 * 3 + 0.1 / 2 * 5)
