"""Worked examples from a lecture on deep learning, computed with the parts of experiments."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from hpc_dl.config.experiment import Experiment
from hpc_dl.learning.class_weights import balanced_weights
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.task import Task
from hpc_dl.models.cnn import CNNConfig
from hpc_dl.models.linear import LinearConfig
from hpc_dl.models.mlp import MLPConfig
from hpc_dl.models.perceptron import Perceptron, PerceptronConfig
from hpc_dl.nn.activations import activation
from hpc_dl.training.training_length import total_steps
from tests import experiments
from tests.experiments import spec, training_recipe

TRUTH_TABLE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
AND, OR, XOR = (torch.tensor(values) for values in ([0, 0, 0, 1], [0, 1, 1, 1], [0, 1, 1, 0]))


def dense_layers(module: nn.Module) -> list[nn.Linear]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Linear)]


def set_values(parameter: Tensor, values: object) -> None:
    with torch.no_grad():
        parameter.copy_(torch.tensor(values, dtype=parameter.dtype).reshape(parameter.shape))


def test_one_step_of_backpropagation() -> None:
    data = spec("regression", input_shape=(2,), num_outputs=1)
    network = MLPConfig(depth=1, width=2, activation="sigmoid", bias=False).build(data, training_recipe(data))
    hidden, head = dense_layers(network)
    set_values(hidden.weight, [[0.14, 0.19], [0.24, 0.29]])
    set_values(head.weight, [[0.35, 0.40]])
    squash = activation("sigmoid", 1)
    error_of = Task(LossConfig(name="half_mse"), data).loss
    optimizer = OPTIMIZERS["sgd"](name="sgd", lr=1.0).build(network.parameters())
    x, target = torch.tensor([[0.05, 0.1]]), torch.tensor([[0.1]])

    output = squash(network(x))
    error = error_of(output, target)
    assert output.item() == pytest.approx(0.59420, abs=5e-6)
    assert error.item() == pytest.approx(0.12212, abs=5e-6)
    error.backward()
    assert head.weight.grad is not None
    assert head.weight.grad[0, 0].item() == pytest.approx(0.06036, abs=5e-6), "not 0.04"
    optimizer.step()
    assert head.weight[0].tolist() == pytest.approx([0.28964, 0.33920], abs=6e-6)
    assert hidden.weight.flatten().tolist() == pytest.approx([0.13948, 0.18896, 0.23940, 0.28881], abs=6e-6)
    output = squash(network(x))
    assert output.item() == pytest.approx(0.57926, abs=5e-6)
    assert error_of(output, target).item() == pytest.approx(0.11485, abs=5e-6)


def test_gradients_match_the_chain_rule() -> None:
    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    x, target, w = (0.05, 0.1), 0.1, (0.14, 0.19, 0.24, 0.29, 0.35, 0.40)
    h1, h2 = sigmoid(w[0] * x[0] + w[1] * x[1]), sigmoid(w[2] * x[0] + w[3] * x[1])
    output = sigmoid(w[4] * h1 + w[5] * h2)
    delta = (output - target) * output * (1 - output)
    d1, d2 = delta * w[4] * h1 * (1 - h1), delta * w[5] * h2 * (1 - h2)
    gradients = [d1 * x[0], d1 * x[1], d2 * x[0], d2 * x[1], delta * h1, delta * h2]

    data = spec("regression", input_shape=(2,), num_outputs=1)
    network = MLPConfig(depth=1, width=2, activation="sigmoid", bias=False).build(data, training_recipe(data))
    hidden, head = dense_layers(network)
    set_values(hidden.weight, w[:4])
    set_values(head.weight, w[4:])
    outputs = activation("sigmoid", 1)(network(torch.tensor([x])))
    Task(LossConfig(name="half_mse"), data).loss(outputs, torch.tensor([[target]])).backward()
    computed = [*hidden.weight.grad.flatten().tolist(), *head.weight.grad.flatten().tolist()]  # type: ignore[union-attr]
    assert computed == pytest.approx(gradients, rel=1e-5)


@pytest.mark.parametrize(
    ("outputs", "probabilities"), [([0.4, 1.2], [0.310, 0.690]), ([1.6, 0.2], [0.802, 0.198]), ([0.0, 0.0], [0.5, 0.5])]
)
def test_cross_entropy_of_each_class(outputs: list[float], probabilities: list[float]) -> None:
    task = Task(LossConfig(), spec(num_outputs=2))
    for target, p in enumerate(probabilities):
        loss = task.loss(torch.tensor([outputs]), torch.tensor([target])).item()
        assert math.exp(-loss) == pytest.approx(p, abs=5e-4)
        assert loss == pytest.approx(-math.log(p), abs=2e-3)


def test_gradient_of_cross_entropy_is_softmax_minus_target() -> None:
    outputs = torch.tensor([[0.4, 1.2]], requires_grad=True)
    Task(LossConfig(), spec(num_outputs=2)).loss(outputs, torch.tensor([0])).backward()
    assert outputs.grad is not None
    assert outputs.grad[0].tolist() == pytest.approx([0.310 - 1, 0.690], abs=5e-4)


def test_linear_layer_is_a_matrix_product() -> None:
    data = spec("regression", input_shape=(3,), num_outputs=3)
    network = LinearConfig(bias=False).build(data, training_recipe(data))
    set_values(dense_layers(network)[0].weight, [[1, -2, 2], [2, 1, -4], [1, -1, 0]])
    assert network(torch.tensor([[0.5, 0.9, -0.3]]))[0].tolist() == pytest.approx([-1.9, 3.1, -0.4])


@pytest.mark.parametrize(
    ("batch_size", "epochs", "updates"),
    [
        (5, 1, 20),
        (10, 500, 5000),
        (100, 7, 7),  # batch gradient descent
        (1, 1, 100),  # stochastic gradient descent
        (30, 2, 6),  # three complete batches; the last ten samples of the epoch are left out
    ],
)
def test_number_of_updates_for_100_samples(batch_size: int, epochs: int, updates: int) -> None:
    content = experiments.raw(Path("paper.h5"), data={"batch_size": batch_size}, trainer={"max_epochs": epochs})
    assert total_steps(Experiment.from_dict(content), spec(train=100, val=10)) == updates


def test_two_hidden_units_solve_xor() -> None:
    data = spec("regression", input_shape=(2,), num_outputs=1)
    network = MLPConfig(depth=1, width=2, activation="relu").build(data, training_recipe(data))
    hidden, head = dense_layers(network)
    set_values(hidden.weight, [[1, 1], [1, 1]])
    set_values(hidden.bias, [0, -1])  # the number of ones, and whether both inputs are 1
    set_values(head.weight, [[1, -2]])
    set_values(head.bias, [0])
    assert network(TRUTH_TABLE).flatten().tolist() == XOR.tolist()


def test_no_plane_separates_xor() -> None:
    data = spec(input_shape=(2,), num_outputs=2)
    network = LinearConfig().build(data, training_recipe(data))
    layer = dense_layers(network)[0]
    for w1, w2, b in itertools.product(range(-4, 5), repeat=3):
        set_values(layer.weight, [[0, 0], [w1, w2]])
        set_values(layer.bias, [0, b / 2])
        assert int((network(TRUTH_TABLE).argmax(1) == XOR).sum()) <= 3


def perceptron_epoch(network: Perceptron, targets: Tensor, optimizer: torch.optim.Optimizer) -> int:
    """Train on one sample after the other; return the number of mistakes (or ties)."""
    mistakes = 0
    for x, y in zip(TRUTH_TABLE.split(1), targets.split(1), strict=True):
        before = dense_layers(network)[0].weight.clone(), dense_layers(network)[0].bias.clone()
        optimizer.zero_grad()
        network.training_step((x, y), 0).backward()
        optimizer.step()
        after = dense_layers(network)[0].weight, dense_layers(network)[0].bias
        mistakes += not all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    return mistakes


def perceptron() -> tuple[Perceptron, torch.optim.Optimizer]:
    data = spec(input_shape=(2,), num_outputs=2)
    network = PerceptronConfig().build(data, training_recipe(data))
    assert isinstance(network, Perceptron)
    return network, OPTIMIZERS["sgd"](name="sgd", lr=1.0).build(network.parameters())


def test_perceptron_rule_step_by_step() -> None:
    network, optimizer = perceptron()
    layer = dense_layers(network)[0]
    steps = [
        # AND, sample by sample: input, class, weights and bias of class 1. Those of class 0 are the
        # negatives.
        ([0.0, 0.0], 0, [0.0, 0.0], -1.0),  # 0 : 0 is a tie, which counts as a mistake
        ([0.0, 1.0], 0, [0.0, 0.0], -1.0),  # −1 : 1 is right: no update
        ([1.0, 0.0], 0, [0.0, 0.0], -1.0),
        ([1.0, 1.0], 1, [1.0, 1.0], 0.0),  # −1 : 1 is wrong: the input is added
        ([0.0, 0.0], 0, [1.0, 1.0], -1.0),  # a tie
        ([0.0, 1.0], 0, [1.0, 0.0], -2.0),  # 0 : 0, a tie
        ([1.0, 0.0], 0, [1.0, 0.0], -2.0),
        ([1.0, 1.0], 1, [2.0, 1.0], -1.0),
    ]
    for x, y, weights, bias in steps:
        optimizer.zero_grad()
        network.training_step((torch.tensor([x]), torch.tensor([y])), 0).backward()
        optimizer.step()
        assert layer.weight.tolist() == [[-value for value in weights], weights]
        assert layer.bias.tolist() == [-bias, bias]


@pytest.mark.parametrize("targets", [AND, OR], ids=["and", "or"])
def test_perceptron_learns_separable_functions(targets: Tensor) -> None:
    network, optimizer = perceptron()
    mistakes = [perceptron_epoch(network, targets, optimizer) for _ in range(20)]
    assert mistakes[0] > 0 and mistakes[-1] == 0
    assert torch.equal(network(TRUTH_TABLE).argmax(1), targets)


def test_perceptron_never_learns_xor() -> None:
    network, optimizer = perceptron()
    assert all(perceptron_epoch(network, XOR, optimizer) > 0 for _ in range(50))
    assert not torch.equal(network(TRUTH_TABLE).argmax(1), XOR)


def features(image: Tensor, config: CNNConfig) -> tuple[nn.Module, nn.Module]:
    """The network and its convolutional part, all convolutions with weights of 1."""
    data = spec(input_shape=tuple(image.shape[1:]))
    network = config.build(data, training_recipe(data)).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.ones_(layer.weight)
    part = network.features
    assert isinstance(part, nn.Module)
    return network, part


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "padding", "expected"),
    [
        (28, 5, 1, 1, "valid", 24),  # n − k + 1
        (28, 5, 1, 1, "same", 28),
        (28, 3, 2, 1, "valid", 13),  # ⌊(n − k) / s⌋ + 1
        (28, 3, 1, 2, "valid", 24),  # a kernel of 3 with gaps spans 5
        (7, 3, 2, 1, "valid", 3),
        (28, 1, 1, 1, "valid", 28),
    ],
)
def test_size_after_a_convolution(
    size: int, kernel: int, stride: int, dilation: int, padding: str, expected: int
) -> None:
    config = CNNConfig(
        channels=[4], kernel_size=kernel, stride=stride, dilation=dilation, padding=padding, pooling="none"
    )  # type: ignore[arg-type]
    images = torch.zeros(2, 3, size, size + stride)
    _, part = features(images, config)
    assert part(images).shape == (2, 4, expected, expected + 1)


def test_sizes_and_parameters_of_two_convolutions() -> None:
    images = torch.zeros(1, 1, 28, 28)
    config = CNNConfig(channels=[20, 50], kernel_size=5, padding="valid", norm="none", hidden=500)
    network, part = features(images, config)
    assert part(images).shape == (1, 50, 4, 4)  # 28 → 24 → 12 → 8 → 4
    num_parameters = (25 + 1) * 20 + (20 * 25 + 1) * 50 + (50 * 16 + 1) * 500 + (500 + 1) * 3
    assert sum(p.numel() for p in network.parameters()) == num_parameters


def test_convolution_of_a_small_image() -> None:
    image = torch.tensor([[[[1.0, 2, 3], [4, 5, 6], [7, 8, 10]]]])
    config = CNNConfig(
        channels=[1], kernel_size=2, padding="valid", norm="none", activation="none", pooling="none", bias=False
    )
    network, part = features(image, config)
    (convolution,) = (layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    set_values(convolution.weight, [[1, 0], [0, -1]])
    assert part(image)[0, 0].tolist() == [[1 - 5, 2 - 6], [4 - 8, 5 - 10]]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("max", [[6, 8], [3, 4]]), ("average", [[3.75, 5.25], [2, 2]]), ("sum", [[15, 21], [8, 8]])],
)
def test_pooling_of_two_by_two(name: str, expected: list[list[float]]) -> None:
    image = torch.tensor([[[[1.0, 3, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]]]])
    config = CNNConfig(channels=[1], kernel_size=1, norm="none", activation="none", bias=False, pooling=name)  # type: ignore[arg-type]
    _, part = features(image, config)
    assert part(image)[0, 0].tolist() == expected


def test_momentum() -> None:
    # E = w² / 2 from w = 1: v ← 0.9 v + w, w ← w − 0.1 v
    weight = nn.Parameter(torch.ones(1))
    optimizer = OPTIMIZERS["sgd"](name="sgd", lr=0.1, momentum=0.9).build([weight])
    weights = []
    for _ in range(3):
        optimizer.zero_grad()
        (weight.square().sum() / 2).backward()
        optimizer.step()
        weights.append(weight.item())
    assert weights == pytest.approx([1 - 0.1 * 1, 0.9 - 0.1 * 1.8, 0.72 - 0.1 * 2.34])


def test_balanced_class_weights() -> None:
    counts = [5000, 5000, 150, 50, 25]
    weights = balanced_weights(counts)
    assert [round(weight, 3) for weight in weights] == [0.409, 0.409, 13.633, 40.9, 81.8]
    assert sum(w * n for w, n in zip(weights, counts, strict=True)) == pytest.approx(sum(counts))
