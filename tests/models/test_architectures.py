"""What is particular to one architecture: its parameters, its faults."""

import pytest
import torch
from torch import nn

from hpc_dl.errors import ConfigError
from hpc_dl.models.cnn import CNNConfig
from hpc_dl.models.linear import LinearConfig
from hpc_dl.models.mlp import MLPConfig
from hpc_dl.nn.activations import _CLASSES, activation
from tests.experiments import learning, spec

IMAGES = spec(input_shape=(1, 8, 8))


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_sizes_follow_from_the_data() -> None:
    for config, wanted in [
        (LinearConfig(), 64 * 3 + 3),
        (LinearConfig(bias=False), 64 * 3),
        (MLPConfig(depth=2, width=5), 64 * 5 + 5 + 5 * 5 + 5 + 5 * 3 + 3),
        (MLPConfig(depth=1, width=5, bias=False), 64 * 5 + 5 * 3),
        # kernels without bias, scale and shift of the normalisation, 2 × 2 pixels left
        (CNNConfig(channels=[4, 6], hidden=7), 4 * 9 + 8 + 6 * 4 * 9 + 12 + (6 * 4) * 7 + 7 + 7 * 3 + 3),
        (CNNConfig(channels=[4], kernel_size=5, batch_norm=False, hidden=7), 4 * 25 + 4 + 64 * 7 + 7 + 7 * 3 + 3),
    ]:
        assert num_parameters(config.build(IMAGES, learning(IMAGES))) == wanted, config


def test_linear_is_linear() -> None:
    model = LinearConfig(bias=False).build(IMAGES, learning(IMAGES))
    a, b = torch.rand(2, 1, 1, 8, 8)
    torch.testing.assert_close(model(2 * a - b), 2 * model(a) - model(b), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("config", [MLPConfig(dropout=0.9), CNNConfig(dropout=0.9)], ids=["mlp", "cnn"])
def test_dropout_acts_in_training_only(config: MLPConfig | CNNConfig) -> None:
    model, x = config.build(IMAGES, learning(IMAGES)), torch.rand(4, 1, 8, 8)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


@pytest.mark.parametrize("name", _CLASSES)
def test_activations_are_torchs(name: str) -> None:
    x = torch.linspace(-3, 3, 13)
    functional = {
        "none": x,
        "relu": x.clamp(min=0),
        "leaky_relu": torch.where(x > 0, x, 0.01 * x),
        "elu": torch.where(x > 0, x, x.exp() - 1),
        "gelu": x * (1 + torch.erf(x / 2**0.5)) / 2,
        "tanh": (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()),
        "sigmoid": 1 / (1 + (-x).exp()),
    }
    torch.testing.assert_close(activation(name)(x), functional[name])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "shape", "told"),
    [
        (
            CNNConfig(channels=[4] * 4),
            (1, 8, 8),
            "model.channels: each block halves the image, and 8×8 pixels can be halved 3 times only "
            "(got [4, 4, 4, 4]; allowed: at most 3 blocks)",
        ),
        (
            CNNConfig(channels=[4] * 3),
            (1, 40, 7),
            "model.channels: each block halves the image, and 40×7 pixels can be halved 2 times only "
            "(got [4, 4, 4]; allowed: at most 2 blocks)",
        ),
        (CNNConfig(kernel_size=4), (1, 8, 8), "model.kernel_size: must be odd (got 4)"),
        (
            CNNConfig(),
            (12,),
            "model.name: does not take inputs of the kind vector (inputs (12,)), as /data/paper.h5 has them "
            "(got 'cnn'; allowed: data of one of the kinds image). "
            "Choose another architecture; `hpc-dl models` says what each takes",
        ),
    ],
)
def test_data_that_a_convolutional_network_cannot_take(config: CNNConfig, shape: tuple[int, ...], told: str) -> None:
    data = spec(input_shape=shape)
    with pytest.raises(ConfigError) as caught:
        config.build(data, learning(data))
    assert str(caught.value) == told


def test_as_many_blocks_as_the_image_can_be_halved() -> None:
    for shape in [(1, 8, 8), (2, 9, 15)]:
        data = spec(input_shape=shape)
        model = CNNConfig(channels=[2, 2, 2], kernel_size=1).build(data, learning(data)).eval()
        assert model(torch.rand(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("kind", [MLPConfig, CNNConfig])
def test_the_activation_is_the_one_asked_for(kind: type[MLPConfig] | type[CNNConfig]) -> None:
    outputs = []
    for name in ("tanh", "none", "relu", "relu"):
        torch.manual_seed(0)
        model = kind(activation=name).build(IMAGES, learning(IMAGES)).eval()  # type: ignore[arg-type]
        outputs.append(model(torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8)))
    tanh, none, relu, same = outputs
    assert torch.equal(relu, same)
    assert not torch.allclose(relu, none) and not torch.allclose(relu, tanh) and not torch.allclose(tanh, none)
