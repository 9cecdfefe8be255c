"""The perceptron: Rosenblatt's learning rule, and what it can and cannot learn."""

import pytest
import torch

from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import ConfigError
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import SCHEDULES
from hpc_dl.learning.task import Task
from hpc_dl.models.perceptron import Perceptron, PerceptronConfig
from tests.experiments import spec, training_recipe

PLANE = spec(input_shape=(2,), num_outputs=2)
XOR = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def perceptron(data: DataSpec, config: PerceptronConfig | None = None) -> Perceptron:
    model = (config or PerceptronConfig()).build(data, training_recipe(data))
    assert isinstance(model, Perceptron)
    return model


def train_epochs(model: Perceptron, x: torch.Tensor, y: torch.Tensor, epochs: int) -> int:
    """Train sample by sample at a rate of 1; return the number of mistakes in the last epoch."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    mistakes = 0
    for _ in range(epochs):
        mistakes = 0
        for number in range(len(x)):
            optimizer.zero_grad()
            model.training_step((x[number : number + 1], y[number : number + 1]), 0).backward()
            mistakes += bool(model.layer.weight.grad is not None and model.layer.weight.grad.any())
            optimizer.step()
    return mistakes


def right(model: Perceptron, x: torch.Tensor, y: torch.Tensor) -> float:
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def test_initial_weights_are_zero() -> None:
    assert not any(parameter.any() for parameter in perceptron(PLANE).parameters())


def test_update_after_a_mistake() -> None:
    model = perceptron(PLANE)
    x = torch.tensor([[2.0, -3.0]])
    train_epochs(model, x, torch.tensor([1]), epochs=1)
    assert model.layer.weight.tolist() == [[-2, 3], [2, -3]]
    assert model.layer.bias.tolist() == [-1, 1]
    train_epochs(model, x, torch.tensor([1]), epochs=3)  # right by now: nothing is learned
    assert model.layer.weight.tolist() == [[-2, 3], [2, -3]]


def test_update_with_multiple_classes() -> None:
    model = perceptron(spec(input_shape=(2,), num_outputs=3))
    with torch.no_grad():
        model.layer.bias.copy_(torch.tensor([0.0, 2.0, 1.0]))
    train_epochs(model, torch.tensor([[1.0, 4.0]]), torch.tensor([0]), epochs=1)
    assert model.layer.weight.tolist() == [[1, 4], [-1, -4], [0, 0]]


def test_converges_on_separable_classes() -> None:
    x = torch.randn(40, 2, generator=torch.Generator().manual_seed(0))
    side = x @ torch.tensor([1.0, -2.0]) + 0.3
    x, y = x[side.abs() > 0.5], (side[side.abs() > 0.5] > 0).long()
    model = perceptron(PLANE)
    assert train_epochs(model, x, y, epochs=10) == 0
    assert right(model, x, y) == 1


def test_cannot_learn_xor() -> None:
    y = torch.tensor([0, 1, 1, 0])
    for order in (torch.arange(4), torch.tensor([2, 0, 3, 1])):
        model = perceptron(PLANE)
        assert train_epochs(model, XOR[order], y[order], epochs=40) > 0
        assert right(model, XOR, y) <= 0.75


def test_loss_can_be_overridden() -> None:
    x, y = torch.tensor([[2.0, -3.0]]), torch.tensor([1])
    task = Task(LossConfig(name="cross_entropy"), PLANE)
    rate = OPTIMIZERS["adam"](name="adam"), SCHEDULES["constant"](name="constant")
    model = PerceptronConfig().build(PLANE, TrainingRecipe(task, *rate, 10))
    assert isinstance(model, Perceptron)
    assert model.training_step((x, y), 0).item() == pytest.approx(0.6931, abs=1e-4)  # ln 2
    assert perceptron(PLANE).training_step((x, y), 0).item() == 0


def test_other_models_keep_their_default_loss() -> None:
    shared = training_recipe(PLANE)
    outputs = torch.zeros(1, 2), torch.tensor([0])
    before = shared.task.loss(*outputs)
    PerceptronConfig().build(PLANE, shared)
    assert torch.equal(shared.task.loss(*outputs), before) and before > 0


def test_option_of_another_loss_raises() -> None:
    task = Task(LossConfig(label_smoothing=0.1), PLANE)
    rate = OPTIMIZERS["adam"](name="adam"), SCHEDULES["constant"](name="constant")
    with pytest.raises(ConfigError, match=r"^loss\.label_smoothing: has no effect with perceptron"):
        PerceptronConfig().build(PLANE, TrainingRecipe(task, *rate, 10))
