"""Linear model and MLP: sizes, linearity, dropout and activation."""

import torch
from torch import nn

from hpc_dl.models.linear import LinearConfig
from hpc_dl.models.mlp import MLPConfig
from tests.experiments import spec, training_recipe

IMAGES = spec(input_shape=(1, 8, 8))


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_number_of_parameters() -> None:
    for config, expected in [
        (LinearConfig(), 64 * 3 + 3),
        (LinearConfig(bias=False), 64 * 3),
        (MLPConfig(depth=2, width=5), 64 * 5 + 5 + 5 * 5 + 5 + 5 * 3 + 3),
        (MLPConfig(depth=1, width=5, bias=False), 64 * 5 + 5 * 3),
    ]:
        assert num_parameters(config.build(IMAGES, training_recipe(IMAGES))) == expected, config


def test_linear_is_linear() -> None:
    model = LinearConfig(bias=False).build(IMAGES, training_recipe(IMAGES))
    a, b = torch.rand(2, 1, 1, 8, 8)
    torch.testing.assert_close(model(2 * a - b), 2 * model(a) - model(b), rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    model, x = MLPConfig(dropout=0.9).build(IMAGES, training_recipe(IMAGES)), torch.rand(4, 1, 8, 8)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_configured_activation_is_used() -> None:
    outputs = []
    for name in ("tanh", "none", "relu", "relu"):
        torch.manual_seed(0)
        model = MLPConfig(activation=name).build(IMAGES, training_recipe(IMAGES)).eval()  # type: ignore[arg-type]
        outputs.append(model(torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8)))
    tanh, none, relu, same = outputs
    assert torch.equal(relu, same)
    assert not torch.allclose(relu, none) and not torch.allclose(relu, tanh) and not torch.allclose(tanh, none)
