"""Each loss compared with its formula, and with torch's own where it exists."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.class_weights import balanced_label_weights, balanced_weights
from hpc_dl.learning.losses import COMPATIBLE_LOSSES, LOSSES, LossConfig
from hpc_dl.learning.task import Task
from tests.experiments import spec

CLASSES = spec()
PIXELS = replace(spec(input_shape=(1, 2, 2)), task="segmentation", targets=(FieldSpec("targets", (2, 2), "int64"),))
LABELS = replace(spec(), task="multilabel", targets=(FieldSpec("targets", (3,), "uint8"),))
VALUES = spec("regression", input_shape=(5,), num_outputs=2)
OUTPUTS = torch.tensor([[2.0, 0.5, -1.0], [0.0, 0.2, 0.1], [1.0, -1.0, 3.0], [0.3, 0.3, -0.2]])
TARGETS = torch.tensor([0, 2, 1, 1])


def loss(data: DataSpec, outputs: Tensor, targets: Any, counts: list[int] | None = None, **config: Any) -> float:
    return Task(LossConfig(**config), data, class_counts=counts).loss(outputs, targets).item()


def probabilities(outputs: Tensor) -> list[list[float]]:
    rows = [[math.exp(value) for value in row] for row in outputs.tolist()]
    return [[value / sum(row) for value in row] for row in rows]


P = [row[target] for row, target in zip(probabilities(OUTPUTS), TARGETS.tolist(), strict=True)]


def test_cross_entropy() -> None:
    assert loss(CLASSES, OUTPUTS, TARGETS) == pytest.approx(sum(-math.log(p) for p in P) / 4)
    assert loss(CLASSES, torch.zeros(4, 3), TARGETS) == pytest.approx(math.log(3))


def test_label_smoothing() -> None:
    expected = 0.0
    for row, target in zip(probabilities(OUTPUTS), TARGETS.tolist(), strict=True):
        soft = [0.3 / 3 + (0.7 if k == target else 0) for k in range(3)]
        expected -= sum(share * math.log(p) for share, p in zip(soft, row, strict=True)) / 4
    assert loss(CLASSES, OUTPUTS, TARGETS, label_smoothing=0.3) == pytest.approx(expected)


def test_class_weights() -> None:
    weights = [2.0, 0.5, 1.0]
    expected = sum(-weights[y] * math.log(p) for p, y in zip(P, TARGETS.tolist(), strict=True)) / 4
    assert loss(CLASSES, OUTPUTS, TARGETS, class_weights=weights) == pytest.approx(expected)
    assert loss(CLASSES, OUTPUTS, TARGETS, class_weights=[1.0, 1.0, 1.0]) == pytest.approx(
        loss(CLASSES, OUTPUTS, TARGETS)
    )
    # Torch divides by the sum of the weights instead of by the number of samples.
    torch_loss = functional.cross_entropy(OUTPUTS, TARGETS, torch.tensor(weights)).item()
    assert expected == pytest.approx(torch_loss * (2 + 1 + 0.5 + 0.5) / 4)


@pytest.mark.parametrize("name", COMPATIBLE_LOSSES["classification"])
@pytest.mark.parametrize("weights", ["none", [2.0, 0.5, 1.0]])
def test_batch_loss_is_the_mean_over_samples(name: str, weights: Any) -> None:
    whole = loss(CLASSES, OUTPUTS, TARGETS, name=name, class_weights=weights)
    each = [loss(CLASSES, OUTPUTS[i : i + 1], TARGETS[i : i + 1], name=name, class_weights=weights) for i in range(4)]
    assert whole == pytest.approx(sum(each) / 4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_focal(gamma: float) -> None:
    expected = sum(-((1 - p) ** gamma) * math.log(p) for p in P) / 4
    assert loss(CLASSES, OUTPUTS, TARGETS, name="focal", gamma=gamma) == pytest.approx(expected)
    weights = [2.0, 0.5, 1.0]
    expected = sum(-weights[y] * (1 - p) ** gamma * math.log(p) for p, y in zip(P, TARGETS.tolist(), strict=True)) / 4
    actual = loss(CLASSES, OUTPUTS, TARGETS, name="focal", gamma=gamma, class_weights=weights)
    assert actual == pytest.approx(expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_gradient_is_finite_for_saturated_outputs(gamma: float) -> None:
    outputs = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    Task(LossConfig(name="focal", gamma=gamma), CLASSES).loss(outputs, torch.tensor([0, 2])).backward()
    assert outputs.grad is not None and outputs.grad.isfinite().all()
    torch.testing.assert_close(outputs.grad[1], torch.tensor([0.0, 0.5, -0.5]))


def test_hinge_and_perceptron() -> None:
    # own − highest other: 1.5, −0.1, −4, 0
    assert loss(CLASSES, OUTPUTS, TARGETS, name="hinge") == pytest.approx((0 + 1.1 + 5 + 1) / 4)
    assert loss(CLASSES, OUTPUTS, TARGETS, name="perceptron") == pytest.approx((0 + 0.1 + 4 + 0) / 4)
    weighted = loss(CLASSES, OUTPUTS, TARGETS, name="hinge", class_weights=[1.0, 3.0, 2.0])
    assert weighted == pytest.approx((0 + 2 * 1.1 + 3 * 5 + 3 * 1) / 4)


def test_hinge_of_two_classes_matches_torch() -> None:
    data, targets = spec(num_outputs=2), torch.tensor([0, 1, 1, 0])
    torch_loss = functional.multi_margin_loss(OUTPUTS[:, :2], targets).item()
    assert loss(data, OUTPUTS[:, :2], targets, name="hinge") == pytest.approx(2 * torch_loss)


def test_perceptron_gradient() -> None:
    outputs = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, -1.0]], requires_grad=True)
    Task(LossConfig(name="perceptron"), CLASSES).loss(outputs, torch.tensor([0, 0, 1])).backward()
    expected = torch.tensor([[0.0, 0, 0], [-1, 1, 0], [1, -1, 0]]) / 3
    torch.testing.assert_close(outputs.grad, expected)


def soft_dice(p: list[float], g: list[int]) -> float:
    both = sum(a * b for a, b in zip(p, g, strict=True))
    return (2 * both + 1) / (sum(a * a for a in p) + sum(g) + 1)


def test_dice() -> None:
    outputs = torch.randn(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [2, 0]]])
    actual = outputs.softmax(1).flatten(2)
    coefficients = [
        [soft_dice(actual[i, k].tolist(), (targets[i].flatten() == k).int().tolist()) for k in range(3)]
        for i in range(2)
    ]
    flat = [value for row in coefficients for value in row]
    dice = loss(PIXELS, outputs, targets, name="dice")
    assert dice == pytest.approx(1 - sum(flat) / 6)
    both = loss(PIXELS, outputs, targets, name="cross_entropy_dice")
    assert both == pytest.approx(dice + functional.cross_entropy(outputs, targets).item())
    weighted = [sum(w * value for w, value in zip((0, 1, 3), row, strict=True)) / 4 for row in coefficients]
    assert loss(PIXELS, outputs, targets, name="dice", class_weights=[0.0, 1.0, 3.0]) == pytest.approx(
        1 - sum(weighted) / 2
    )


def test_dice_of_perfect_and_wrong_outputs() -> None:
    targets = torch.randint(0, 2, (1, 40, 40), generator=torch.Generator().manual_seed(0))
    outputs = 40.0 * functional.one_hot(targets, 3).permute(0, 3, 1, 2)
    assert loss(PIXELS, outputs, targets, name="dice") == pytest.approx(0, abs=1e-6), "class 2 is absent"
    # Nothing of classes 0 and 1 is predicted correctly; class 2 is still absent.
    assert loss(PIXELS, outputs[:, [1, 0, 2]], targets, name="dice") == pytest.approx(2 / 3, abs=1e-3)


def test_dice_of_ragged_samples() -> None:
    steps = Ragged(torch.tensor([0, 2, 1, 1]), torch.tensor([0, 1, 4]))
    p = OUTPUTS.softmax(1).T.tolist()
    expected = 1 - sum(soft_dice(p[k], (steps.values == k).int().tolist()) for k in range(3)) / 3
    assert loss(PIXELS, OUTPUTS, steps, name="dice") == pytest.approx(expected)


def test_bce_with_label_weights() -> None:
    targets = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 0], [0, 1, 0]], dtype=torch.uint8)
    weights = [3.0, 1.0, 0.5]
    plain = weighted = 0.0
    for row, set_ in zip(OUTPUTS.tolist(), targets.tolist(), strict=True):
        for value, label, weight in zip(row, set_, weights, strict=True):
            p = 1 / (1 + math.exp(-value))
            plain -= math.log(p if label else 1 - p) / 12
            weighted -= (weight * math.log(p) if label else math.log(1 - p)) / 12
    assert loss(LABELS, OUTPUTS, targets) == pytest.approx(plain)
    assert loss(LABELS, OUTPUTS, targets, class_weights=weights) == pytest.approx(weighted)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # errors 0.5, −2, 0, 3
        ("mse", (0.25 + 4 + 9) / 4),
        ("half_mse", (0.25 + 4 + 9) / 8),
        ("l1", (0.5 + 2 + 3) / 4),
        ("huber", (0.5 * 0.25 + (2 - 0.5) + (3 - 0.5)) / 4),
    ],
)
def test_regression_losses(name: str, expected: float) -> None:
    outputs, targets = torch.tensor([[0.5, -2.0], [1.0, 4.0]]), torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    assert loss(VALUES, outputs, targets, name=name) == pytest.approx(expected)


def test_half_mse_derivative_is_the_error() -> None:
    data = spec("regression", input_shape=(5,), num_outputs=1)
    outputs = torch.tensor([[0.7]], requires_grad=True)
    Task(LossConfig(name="half_mse"), data).loss(outputs, torch.tensor([0.1])).backward()
    assert outputs.grad is not None and outputs.grad.item() == pytest.approx(0.6)


def test_balanced_weights() -> None:
    counts = [5000, 5000, 150, 50, 25]
    weights = balanced_weights(counts)
    assert weights == pytest.approx([10225 / 25000, 10225 / 25000, 10225 / 750, 10225 / 250, 10225 / 125])
    assert [w * n for w, n in zip(weights, counts, strict=True)] == pytest.approx([10225 / 5] * 5)
    assert balanced_weights([7, 7, 7]) == [1, 1, 1]
    assert balanced_label_weights([25, 75, 50], 100) == [3, pytest.approx(1 / 3), 1]


def test_balanced_uses_training_counts() -> None:
    by_list = loss(CLASSES, OUTPUTS, TARGETS, class_weights=balanced_weights([40, 4, 4]))
    assert loss(CLASSES, OUTPUTS, TARGETS, counts=[40, 4, 4], class_weights="balanced") == pytest.approx(by_list)
    targets = torch.ones(4, 3)
    by_list = loss(LABELS, OUTPUTS, targets, class_weights=balanced_label_weights([12, 24, 4], 48))
    assert loss(LABELS, OUTPUTS, targets, counts=[12, 24, 4], class_weights="balanced") == pytest.approx(by_list)


REMEDY = "(got 'balanced'). Set the weights as a list"


@pytest.mark.parametrize(
    ("data", "config", "counts", "message"),
    [
        (
            CLASSES,
            {"class_weights": "balanced"},
            [3, 0, 4],
            f"loss.class_weights: class 1 has no sample in the training split {REMEDY}",
        ),
        (
            LABELS,
            {"class_weights": "balanced"},
            [48, 3, 4],
            f"loss.class_weights: label 0 is set in all of the training samples {REMEDY}",
        ),
        (
            CLASSES,
            {"class_weights": "balanced"},
            None,
            f"loss.class_weights: the classes of /data/paper.h5 are not counted in the training split {REMEDY}",
        ),
        (
            VALUES,
            {"class_weights": [1.0, 2.0]},
            None,
            "loss.class_weights: does not apply to regression (data.task) (got [1.0, 2.0]; allowed: none)",
        ),
        (
            PIXELS,
            {"class_weights": [1.0]},
            None,
            "loss.class_weights: must have one weight for each of the 3 classes of /data/paper.h5 (got [1.0])",
        ),
        (
            LABELS,
            {"label_smoothing": 0.1},
            None,
            "loss.label_smoothing: has no effect with bce (loss.name) (got 0.1; allowed: 0, or one of the losses "
            "cross_entropy, cross_entropy_dice)",
        ),
    ],
)
def test_invalid_loss_options_raise(
    data: DataSpec, config: dict[str, Any], counts: list[int] | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        Task(LossConfig(**config), data, class_counts=counts)
    assert str(caught.value) == message


def test_losses_are_finite_for_huge_outputs() -> None:
    assert {name for fitting in COMPATIBLE_LOSSES.values() for name in fitting} - {"auto"} == set(LOSSES)
    for name in COMPATIBLE_LOSSES["classification"] + COMPATIBLE_LOSSES["segmentation"]:
        data = CLASSES if name in COMPATIBLE_LOSSES["classification"] else PIXELS
        outputs = (1e4 * OUTPUTS).requires_grad_()
        actual = Task(LossConfig(name=name), data).loss(outputs, TARGETS)  # type: ignore[arg-type]
        actual.backward()
        assert actual.isfinite() and outputs.grad is not None and outputs.grad.isfinite().all(), name


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "hinge"])
def test_class_weights_follow_the_precision(name: Any) -> None:
    task = Task(LossConfig(name=name, class_weights=[2.0, 0.5, 1.0]), CLASSES)
    exact = task.loss(OUTPUTS.double(), TARGETS)
    assert exact.dtype == torch.float64
    half = task.loss(OUTPUTS.bfloat16(), TARGETS)
    assert half.dtype == torch.bfloat16 and half.item() == pytest.approx(exact.item(), rel=0.02)


def test_dice_of_many_pixels_in_16_bit() -> None:
    targets = torch.randint(0, 3, (1, 300, 300), generator=torch.Generator().manual_seed(0))
    outputs = torch.randn(1, 3, 300, 300, generator=torch.Generator().manual_seed(1)).half()
    task = Task(LossConfig(name="dice"), PIXELS)
    assert task.loss(outputs, targets).item() == pytest.approx(task.loss(outputs.double(), targets).item(), rel=1e-5)
