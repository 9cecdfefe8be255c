"""Positions without a class count neither in the loss nor in metrics, whatever the batch."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED, DataSpec, FieldSpec
from hpc_dl.learning.losses import COMPATIBLE_LOSSES, LossConfig
from hpc_dl.learning.metrics import METRICS, confusion_matrix
from hpc_dl.learning.task import Task

NUM_CLASSES = 3
SHAPES = {"classification": (24,), "segmentation": (6, 4, 5), "node_classification": (30,)}


def data_of(task: str, *, ignores: bool = True) -> DataSpec:
    targets = FieldSpec("targets", SHAPES[task][1:], "int64", ragged=task == "node_classification")
    inputs = FieldSpec("inputs", (1, *SHAPES[task][1:]), "float32")
    return DataSpec(
        inputs=(inputs,), targets=(targets,), task=task, num_outputs=NUM_CLASSES, class_names=("a", "b", "c"),  # type: ignore[arg-type]
        sizes={"train": 24}, file="/d.h5", checksum="sha256:0", name="d", ignores=ignores,
    )  # fmt: skip


def batch(task: str, share: float = 0.4) -> tuple[torch.Tensor, torch.Tensor]:
    """Outputs and targets; the share of targets that have a class."""
    torch.manual_seed(0)
    shape = SHAPES[task]
    targets = torch.randint(0, NUM_CLASSES, shape).masked_fill(torch.rand(shape) > share, IGNORED)
    return torch.randn(shape[0], NUM_CLASSES, *shape[1:], requires_grad=True), targets


def flat(outputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    known = targets != IGNORED
    return outputs.movedim(1, -1)[known], targets[known]


POINTWISE = [
    (task, loss, weights)
    for task in SHAPES
    for loss in COMPATIBLE_LOSSES[task]  # type: ignore[index]
    for weights in ("none", [1.0, 2.0, 0.5])
    if "dice" not in loss
]


@pytest.mark.parametrize(("task", "loss", "weights"), POINTWISE)
def test_loss_is_that_of_the_labeled_positions(task: str, loss: str, weights: Any) -> None:
    config = LossConfig(name=loss, class_weights=weights)
    outputs, targets = batch(task)
    masked = Task(config, data_of(task)).loss(outputs, targets)
    kept = replace(data_of("classification", ignores=False), task=task)  # type: ignore[arg-type]
    torch.testing.assert_close(masked, Task(config, kept).loss(*flat(outputs, targets)))


@pytest.mark.parametrize("loss", ["dice", "cross_entropy_dice"])
@pytest.mark.parametrize("weights", ["none", [1.0, 2.0, 0.5]])
def test_dice_does_not_depend_on_outputs_without_a_class(loss: str, weights: Any) -> None:
    task = Task(LossConfig(name=loss, class_weights=weights), data_of("segmentation"))
    outputs, targets = batch("segmentation")
    changed = torch.where((targets == IGNORED).unsqueeze(1), outputs + torch.randn_like(outputs), outputs)
    torch.testing.assert_close(task.loss(changed, targets), task.loss(outputs, targets))


@pytest.mark.parametrize("task", SHAPES)
def test_batch_without_any_label_has_no_effect(task: str) -> None:
    for loss in COMPATIBLE_LOSSES[task]:  # type: ignore[index]
        learned = Task(LossConfig(name=loss), data_of(task))
        outputs, targets = batch(task, share=0.0)
        value = learned.loss(outputs, targets)
        value.backward()
        assert value == 0 and outputs.grad is not None and not outputs.grad.any(), loss
        metrics = learned.metrics("val/")
        learned.update(metrics, outputs, targets)
        learned.update(metrics, *batch(task))
        assert all(torch.isfinite(metric) for metric in metrics.compute().values())


@pytest.mark.parametrize("task", SHAPES)
def test_metrics_are_those_of_the_labeled_positions(task: str) -> None:
    names = tuple(name if name != "top5" else "top2" for name in METRICS[task])  # type: ignore[index]
    learned = Task(LossConfig(), data_of(task), names)
    flat_task = Task(LossConfig(), replace(data_of("classification", ignores=False), task=task), names)  # type: ignore[arg-type]
    outputs, targets = batch(task)
    masked, kept = learned.metrics(""), flat_task.metrics("")
    learned.update(masked, outputs, targets)
    flat_task.update(kept, *flat(outputs, targets))
    torch.testing.assert_close(masked.compute(), kept.compute(), equal_nan=True)
    matrix = confusion_matrix(learned.data)
    matrix.update(outputs, targets)
    assert matrix.compute().sum() == (targets != IGNORED).sum()


def test_split_loss_weights_batches_by_their_labels() -> None:
    task, total = Task(LossConfig(), data_of("segmentation")), MeanMetric()
    outputs, targets = batch("segmentation")
    targets[:3] = targets[:3].masked_fill(torch.rand(3, 4, 5) > 0.1, IGNORED)  # a batch with few labels
    for part in (slice(0, 3), slice(3, 6)):
        total.update(task.loss(outputs[part], targets[part]), weight=task.weight(targets[part]))
    torch.testing.assert_close(total.compute(), task.loss(outputs, targets))


def multilabel(*, ignores: bool) -> DataSpec:
    return replace(
        data_of("classification", ignores=ignores), task="multilabel", targets=(FieldSpec("y", (3,), "int64"),)
    )


@pytest.mark.parametrize("weights", ["none", [1.0, 2.0, 0.5]])
def test_unknown_labels_of_multilabel(weights: Any) -> None:
    torch.manual_seed(0)
    outputs, targets = torch.randn(8, 3), torch.randint(0, 2, (8, 3))
    task = Task(LossConfig(class_weights=weights), multilabel(ignores=True))
    known = task.loss(outputs, targets)
    torch.testing.assert_close(
        known, Task(LossConfig(class_weights=weights), multilabel(ignores=False)).loss(outputs, targets)
    )
    more, unknown = torch.cat([outputs, torch.randn(4, 3)]), torch.cat([targets, torch.full((4, 3), IGNORED)])
    torch.testing.assert_close(task.loss(more, unknown), known)
    assert task.loss(more[8:], unknown[8:]) == 0
    metrics, expected = task.metrics(""), task.metrics("")
    task.update(metrics, more, unknown)
    task.update(expected, outputs, targets)
    assert metrics["accuracy"].compute() == expected["accuracy"].compute()
    assert metrics["f1"].compute() == expected["f1"].compute()


def test_weight_of_ragged_targets_counts_labels() -> None:
    task = Task(LossConfig(), data_of("node_classification"))
    assert task.weight(Ragged(torch.tensor([1, IGNORED, 2]), torch.tensor([0, 3]))) == 2
