"""Each metric compared with a value computed by hand, over uneven batches."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.metrics import METRICS, confusion_matrix, per_class
from hpc_dl.learning.task import Task
from tests.experiments import spec

CLASSES = spec()
PIXELS = replace(spec(input_shape=(1, 2, 3)), task="segmentation", targets=(FieldSpec("targets", (2, 3), "int64"),))
LABELS = replace(spec(num_outputs=2), task="multilabel", targets=(FieldSpec("targets", (2,), "uint8"),))


def computed(data: DataSpec, outputs: Tensor, targets: Tensor, *names: str, first: int = 1) -> dict[str, float]:
    """Compute metrics over two batches, the first with ``first`` samples."""
    task = Task(LossConfig(), data, names)
    metrics = task.metrics("")
    task.update(metrics, outputs[:first], targets[:first])
    task.update(metrics, outputs[first:], targets[first:])
    return {name: value.item() for name, value in metrics.compute().items()}


def certain(classes: list[int], num_classes: int = 3) -> Tensor:
    """Outputs that predict these classes."""
    return 4 * torch.eye(num_classes)[classes]


#                 0 0 0 0 | 1 1 1 | 2 2 2
FOUND = [0, 0, 0, 1, 1, 2, 1, 2, 2, 0]
TRUE = [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_classification_metrics() -> None:
    actual = computed(CLASSES, certain(FOUND), torch.tensor(TRUE), "accuracy", "balanced_accuracy", "f1", first=4)
    assert actual == pytest.approx(
        {
            "accuracy": 7 / 10,
            "balanced_accuracy": (3 / 4 + 2 / 3 + 2 / 3) / 3,
            # 2 TP / (true + predicted): classes 0, 1 and 2 occur 4, 3 and 3 times in both
            "f1": (6 / 8 + 4 / 6 + 4 / 6) / 3,
        }
    )


def test_absent_class_does_not_affect_balanced_accuracy() -> None:
    actual = computed(CLASSES, certain([0, 0, 1, 2]), torch.tensor([0, 0, 1, 1]), "balanced_accuracy", "f1")
    assert actual["balanced_accuracy"] == pytest.approx((1 + 1 / 2) / 2)
    assert actual["f1"] == pytest.approx((1 + 2 / 3 + 0) / 3), "predicting an absent class is a mistake"


def test_balanced_accuracy_of_the_majority_class() -> None:
    targets = torch.tensor([0] * 35 + [1])
    actual = computed(spec(num_outputs=2), certain([0] * 36, 2), targets, "accuracy", "balanced_accuracy", first=20)
    assert actual == pytest.approx({"accuracy": 35 / 36, "balanced_accuracy": 1 / 2})


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_f1_averages_equal_those_of_scikit_learn(average: str, num_classes: int) -> None:
    import sklearn.metrics

    found, true = ([min(y, num_classes - 1) for y in classes] for classes in (FOUND, TRUE))
    data = spec(num_outputs=num_classes)
    actual = computed(data, certain(found, num_classes), torch.tensor(true), f"f1_{average}", "f1", first=3)
    # of class 1 if there are two
    own = sklearn.metrics.f1_score(true, found, average="binary" if num_classes == 2 else "macro")
    expected = {f"f1_{average}": sklearn.metrics.f1_score(true, found, average=average), "f1": own}
    assert actual == pytest.approx(expected)


def test_f1_of_two_classes_by_hand() -> None:
    # Class 1: one of three is found, one is false. Class 0: five of six are found, two are false.
    actual = computed(
        spec(num_outputs=2),
        certain([1, 0, 0, 1, 0, 0, 0, 0, 0], 2),
        torch.tensor([1, 1, 1, 0, 0, 0, 0, 0, 0]),
        *("f1", "f1_macro", "f1_micro", "f1_weighted"),
    )
    first, second = 2 * 5 / (7 + 6), 2 * 1 / (2 + 3)
    assert actual == pytest.approx(
        {
            "f1": second,
            "f1_macro": (first + second) / 2,
            "f1_micro": 6 / 9,  # the accuracy
            "f1_weighted": (6 * first + 3 * second) / 9,
        }
    )


def test_topk() -> None:
    data = spec(num_outputs=7)
    outputs = torch.arange(7.0).repeat(4, 1)  # class 6 first, then 5, 4, 3, 2
    actual = computed(data, outputs, torch.tensor([6, 2, 1, 0]), "accuracy", "top5", "top6", "top1")
    assert actual == pytest.approx({"accuracy": 1 / 4, "top1": 1 / 4, "top5": 2 / 4, "top6": 3 / 4})


@pytest.mark.parametrize(
    ("name", "num_classes", "allowed"), [("top5", 5, "top1 to top4"), ("top3", 3, "top1 to top2"), ("top2", 2, "top1")]
)
def test_topk_of_k_or_fewer_classes_is_refused(name: str, num_classes: int, allowed: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Task(LossConfig(), spec(num_outputs=num_classes), [name])
    assert str(raised.value) == (
        f"metrics: is 1 for any prediction of {num_classes} classes (got {name!r}; allowed: {allowed})"
    )


def area(scores: list[float], positive: list[bool]) -> float:
    """The share of pairs in which the positive has the higher score; ties count half.

    This is the Mann-Whitney statistic.
    """
    pairs = [(p, n) for p, is_p in zip(scores, positive, strict=True) if is_p
             for n, is_n in zip(scores, positive, strict=True) if not is_n]  # fmt: skip
    return sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs) / len(pairs)


def test_auroc_of_two_classes() -> None:
    data = spec(num_outputs=2)
    # The first batch is within [0, 1], and must still be treated as logits.
    outputs = torch.tensor([[0.1, 0.9], [0.8, 0.2], [3.0, -1.0], [-2.0, 2.5], [0.0, 0.4], [1.0, 0.7]])
    targets = torch.tensor([1, 0, 0, 1, 0, 1])
    scores = (outputs[:, 1] - outputs[:, 0]).tolist()
    expected = area(scores, [y == 1 for y in targets.tolist()])
    assert computed(data, outputs, targets, "auroc", first=2) == pytest.approx({"auroc": expected})
    assert expected == pytest.approx(8 / 9)


def test_auroc_of_multiple_classes() -> None:
    outputs = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(20) % 3
    shares = outputs.softmax(1)
    expected = sum(area(shares[:, k].tolist(), (targets == k).tolist()) for k in range(3)) / 3
    assert computed(CLASSES, outputs, targets, "auroc", first=7) == pytest.approx({"auroc": expected})


def test_segmentation_metrics() -> None:
    # All pixels:  true 0 0 0 0 | 0 0 | 1 1 1 | 2 2 2     found 0 0 0 0 | 1 1 | 1 1 0 | 2 0 0
    true = torch.tensor([[[0, 0, 0], [0, 0, 0]], [[1, 1, 1], [2, 2, 2]]])
    actual = torch.tensor([[[0, 0, 0], [0, 1, 1]], [[1, 1, 0], [2, 0, 0]]])
    outputs = certain(actual.flatten().tolist()).reshape(2, 2, 3, 3).permute(0, 3, 1, 2)
    dice = (2 * 4 / (6 + 7), 2 * 2 / (3 + 4), 2 * 1 / (3 + 1))
    iou = (4 / (6 + 7 - 4), 2 / (3 + 4 - 2), 1 / (3 + 1 - 1))
    names = ("accuracy", "dice", "iou", "dice_foreground", "iou_foreground", "balanced_accuracy")
    assert computed(PIXELS, outputs, true, *names) == pytest.approx(
        {
            "accuracy": 7 / 12,
            "dice": sum(dice) / 3,
            "iou": sum(iou) / 3,
            "dice_foreground": sum(dice[1:]) / 2,
            "iou_foreground": sum(iou[1:]) / 2,
            "balanced_accuracy": (4 / 6 + 2 / 3 + 1 / 3) / 3,
        }
    )


def test_foreground_metrics_ignore_the_background() -> None:
    true = torch.zeros(2, 2, 3, dtype=torch.int64)
    true[0, 0, 0] = 1
    nothing = certain([0] * 12).reshape(2, 2, 3, 3).permute(0, 3, 1, 2)
    actual = computed(PIXELS, nothing, true, "dice", "dice_foreground", "iou_foreground")
    assert actual == pytest.approx({"dice": (22 / 23 + 0) / 2, "dice_foreground": 0, "iou_foreground": 0})
    # Class 2 is neither present nor predicted, and does not count. A false positive does.
    outputs = certain([1, 1] + [0] * 10).reshape(2, 2, 3, 3).permute(0, 3, 1, 2)
    actual = computed(PIXELS, outputs, true, "dice_foreground", "iou_foreground")
    assert actual == pytest.approx({"dice_foreground": 2 / 3, "iou_foreground": 1 / 2})
    empty = computed(PIXELS, nothing, torch.zeros(2, 2, 3, dtype=torch.int64), "dice_foreground")
    assert math.isnan(empty["dice_foreground"]), "no foreground exists"


def test_bits_per_step() -> None:
    outputs = torch.zeros(3, 3, 2)
    outputs[0, 1] = math.log(6)  # 6 of 8 for class 1
    targets = torch.tensor([[1, 0], [2, 1], [0, 0]])
    bits = (math.log2(8 / 6) + math.log2(8) + 4 * math.log2(3)) / 6
    data = replace(PIXELS, targets=(FieldSpec("targets", (2,), "int64"),))
    assert computed(data, outputs, targets, "bits_per_step") == pytest.approx({"bits_per_step": bits})


def test_multilabel_metrics() -> None:
    # In the first batch all logits are within [0, 1]: each predicts that the label is set.
    outputs = torch.tensor([[0.1, 0.2], [0.3, 0.4], [2.0, -1.0], [-3.0, -1.0], [-1.0, 5.0]])
    targets = torch.tensor([[1, 0], [1, 1], [1, 0], [0, 0], [1, 0]])
    names = ("accuracy", "balanced_accuracy", "f1", "f1_micro", "f1_weighted", "exact_match", "auroc")
    actual = computed(LABELS, outputs, targets, *names, first=2)
    area_0 = area([0.1, 0.3, 2, -3, -1], [True, True, True, False, True])
    area_1 = area([0.2, 0.4, -1, -1, 5], [False, True, False, False, False])
    assert actual == pytest.approx(
        {
            "accuracy": 7 / 10,
            # label 0: 3 of 4 set, 1 of 1 not set; label 1: 1 of 1, 2 of 4
            "balanced_accuracy": ((3 / 4 + 1) / 2 + (1 + 2 / 4) / 2) / 2,
            "f1": (2 * 3 / (4 + 3) + 2 * 1 / (1 + 3)) / 2,
            "f1_micro": 2 * (3 + 1) / (4 + 3 + 1 + 3),
            "f1_weighted": (4 * (2 * 3 / (4 + 3)) + 1 * (2 * 1 / (1 + 3))) / 5,
            "exact_match": 3 / 5,
            "auroc": (area_0 + area_1) / 2,
        }
    )


def test_balanced_accuracy_of_a_label_that_is_never_set() -> None:
    outputs, targets = torch.tensor([[9.0, -9.0], [-9.0, -9.0], [9.0, 9.0]]), torch.tensor([[1, 0], [0, 0], [0, 0]])
    actual = computed(LABELS, outputs, targets, "balanced_accuracy")
    assert actual["balanced_accuracy"] == pytest.approx(((1 + 1 / 2) / 2 + 2 / 3) / 2)


def test_regression_metrics() -> None:
    data = spec("regression", input_shape=(5,), num_outputs=2)
    outputs = torch.tensor([[1.0, 10.0], [2.0, 10.0], [4.0, 16.0]])
    targets = torch.tensor([[1.0, 10.0], [2.0, 12.0], [3.0, 14.0]])
    assert computed(data, outputs, targets, "mse", "mae", "r2") == pytest.approx(
        # Sum of squared deviations of the targets from their means 2 and 12: 2 and 8
        {"mse": (1 + 4 + 4) / 6, "mae": (1 + 2 + 2) / 6, "r2": ((1 - 1 / 2) + (1 - 8 / 8)) / 2}
    )


def test_confusion_matrix_and_per_class_metrics() -> None:
    matrix = confusion_matrix(CLASSES)
    matrix.update(certain(FOUND[:4]), torch.tensor(TRUE[:4]))
    matrix.update(certain(FOUND[4:]), torch.tensor(TRUE[4:]))
    assert matrix.compute().tolist() == [[3, 1, 0], [0, 2, 1], [1, 0, 2]]
    actual = per_class(torch.tensor([[3, 1, 0, 0], [0, 2, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    expected = {
        "precision": [1, 2 / 3, 0, math.nan],
        "recall": [3 / 4, 2 / 4, math.nan, math.nan],
        "f1": [6 / 7, 4 / 7, 0, math.nan],
        "iou": [3 / 4, 2 / 5, 0, math.nan],
    }
    assert {name: values.tolist() for name, values in actual.items()} == {
        name: pytest.approx(values, nan_ok=True) for name, values in expected.items()
    }


def test_confusion_matrix_of_labels_and_pixels() -> None:
    matrix = confusion_matrix(LABELS)
    matrix.update(torch.tensor([[0.9, 0.2], [0.8, 0.9]]), torch.tensor([[1, 0], [0, 1]]))
    assert matrix.compute().tolist() == [[[0, 1], [0, 1]], [[1, 0], [0, 1]]]
    pixels = confusion_matrix(PIXELS)
    pixels.update(certain([0, 1, 1, 2]).reshape(1, 2, 2, 3).permute(0, 3, 1, 2), torch.tensor([[[0, 1], [2, 2]]]))
    assert pixels.compute().tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    with pytest.raises(ConfigError, match=r"data.task: has no confusion matrix \(got 'regression'\)"):
        confusion_matrix(spec("regression"))


def test_reset_clears_metrics() -> None:
    for name, make in METRICS["segmentation"].items():
        if name == "top5":  # needs more classes
            continue
        metric = make(3)
        outputs, targets = certain(FOUND[4:]), torch.tensor(TRUE[4:])
        metric.update(outputs, targets)
        first = metric.compute()
        metric.reset()
        metric.update(certain([0, 1, 2]), torch.tensor([0, 1, 2]))
        metric.reset()
        metric.update(outputs, targets)
        torch.testing.assert_close(metric.compute(), first, msg=name)
