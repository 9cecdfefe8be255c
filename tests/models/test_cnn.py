"""The convolutional network: each of its options, and invalid ones."""

from typing import Any

import pytest
import torch
from torch import nn

from hpc_dl.errors import ConfigError
from hpc_dl.models.cnn import CNN, CNNConfig
from tests.experiments import spec, training_recipe

IMAGES = spec(input_shape=(1, 8, 8))
SHAPES = {"series": (2, 20), "image": (3, 20, 17), "volume": (1, 16, 17, 18)}


def build(shape: tuple[int, ...] = (1, 8, 8), **parameters: Any) -> CNN:
    torch.manual_seed(0)
    data = spec(input_shape=shape)
    model = CNNConfig(**parameters).build(data, training_recipe(data))
    assert isinstance(model, CNN)
    return model


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_number_of_parameters() -> None:
    # kernels without bias, scale and shift of the normalization, 2 × 2 pixels remain
    assert num_parameters(build(channels=[4, 6], hidden=7)) == 36 + 8 + 6 * 36 + 12 + 24 * 7 + 7 + 7 * 3 + 3
    assert num_parameters(build(channels=[4], kernel_size=5, norm="none", hidden=7)) == 104 + 64 * 7 + 7 + 7 * 3 + 3
    assert num_parameters(build(channels=[4], norm="none", hidden=7, bias=False)) == 36 + 64 * 7 + 7 * 3
    assert num_parameters(build(channels=[4], norm="none", hidden=0)) == 40 + 64 * 3 + 3
    assert num_parameters(build(channels=[4], norm="none", hidden=0, head="global_average")) == 40 + 4 * 3 + 3
    # groups: half of the weights, except in the first convolution
    assert num_parameters(build(channels=[4, 6], norm="none", groups=2, hidden=0)) == 40 + 3 * 36 + 6 + 24 * 3 + 3
    assert num_parameters(build(channels=[4], convolutions=3, norm="none", hidden=0)) == 40 + 2 * 148 + 64 * 3 + 3
    assert num_parameters(build((2, 8), channels=[4], norm="none", hidden=0)) == 28 + 16 * 3 + 3
    assert num_parameters(build((2, 8, 8, 8), channels=[4], norm="none", hidden=0)) == 220 + 256 * 3 + 3


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"convolutions": 2, "stride": 2},
        {"padding": "valid", "channels": [4], "kernel_size": 2, "dilation": 2},
        {"pooling": "none", "stride": 3, "groups": 2},
        {"pooling": "sum", "pool_size": 3, "channels": [4], "norm": "layer"},
        {"pooling": "average", "pool_size": 3, "pool_padding": "same", "channels": [2, 2]},
        {"pooling": "average", "head": "global_average", "hidden": 0, "norm": "group"},
    ],
    ids=lambda parameters: "-".join(parameters) or "defaults",
)
def test_options_on_one_two_and_three_axes(shape: tuple[int, ...], parameters: dict[str, Any]) -> None:
    model = build(shape, **{"channels": [4, 6], "hidden": 5, **parameters})
    outputs = model(torch.randn(4, *shape))
    assert outputs.shape == (4, 3)
    outputs.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.count_nonzero() > 0, name


def test_network_matches_plain_torch() -> None:
    ours = build(channels=[4, 6], hidden=7).eval()
    torch_layers = nn.Sequential(
        *[nn.Conv2d(1, 4, 3, padding="same", bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Conv2d(4, 6, 3, padding="same", bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2)],
        *[nn.Flatten(), nn.Dropout(0.25), nn.Linear(24, 7), nn.ReLU(), nn.Linear(7, 3)],
    ).eval()
    with torch.no_grad():
        for theirs, value in zip(torch_layers.parameters(), ours.parameters(), strict=True):
            theirs.copy_(value)
    x = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(ours(x), torch_layers(x))


def test_dilation_and_stride() -> None:
    torch.manual_seed(0)
    data = spec(input_shape=(1, 16))
    config = CNNConfig(channels=[1], norm="none", pooling="none", activation="none", dilation=3, stride=2)
    (layers, _) = config.module(data, training_recipe(data)).features
    impulse = torch.zeros(1, 1, 16)
    impulse[0, 0, 7] = 1
    changed = (layers(impulse) - layers(torch.zeros(1, 1, 16)))[0, 0].nonzero().flatten()
    assert changed.tolist() == [2, 5]  # of the outputs at 0, 2, 4, …: those at 7 − 3 and 7 + 3


def test_global_average_accepts_any_size() -> None:
    model = build((1, 16, 16), channels=[4, 6], head="global_average").eval()
    for sizes in [(16, 16), (9, 30), (4, 4)]:
        assert model(torch.rand(2, 1, *sizes)).shape == (2, 3)


def test_maximum_number_of_blocks() -> None:
    for shape in [(1, 8, 8), (2, 9, 15)]:
        model = build(shape, channels=[2, 2, 2], kernel_size=1).eval()
        assert model(torch.rand(2, *shape)).shape == (2, 3)


def test_dropout_acts_in_training_only() -> None:
    model, x = build(dropout=0.9), torch.rand(4, 1, 8, 8)
    assert not torch.equal(model.train()(x), model(x))
    assert torch.equal(model.eval()(x), model(x))


def test_configured_activation_is_used() -> None:
    x = torch.linspace(-2, 2, 64).reshape(1, 1, 8, 8)
    tanh, none, relu, same = (build(activation=name).eval()(x) for name in ("tanh", "none", "relu", "relu"))
    assert torch.equal(relu, same)
    assert not torch.allclose(relu, none) and not torch.allclose(relu, tanh) and not torch.allclose(tanh, none)


SMALL = "model.channels: has too many blocks: nothing remains of"
LOWER = "Lower model.kernel_size, model.dilation, model.stride or model.pool_size"


@pytest.mark.parametrize(
    ("parameters", "shape", "message"),
    [
        (
            {"channels": [4] * 4},
            (1, 8, 8),
            f"{SMALL} 8×8 inputs after 4 blocks (got [4, 4, 4, 4]; allowed: at most 3 blocks)",
        ),
        (
            {"channels": [4] * 3},
            (1, 40, 7),
            f"{SMALL} 40×7 inputs after 3 blocks (got [4, 4, 4]; allowed: at most 2 blocks)",
        ),
        ({"channels": [4] * 9}, (1, 7), f"{SMALL} 7 inputs after 3 blocks (got {[4] * 9}; allowed: at most 2 blocks)"),
        ({"channels": [4], "pool_size": 9}, (1, 8, 8), f"{SMALL} 8×8 inputs after 1 blocks (got [4]). {LOWER}"),
        (
            {"channels": [4, 4], "padding": "valid", "kernel_size": 4, "pooling": "none", "convolutions": 2},
            (1, 8, 8, 8),
            f"{SMALL} 8×8×8 inputs after 2 blocks (got [4, 4]; allowed: at most 1 blocks)",
        ),
        ({"kernel_size": 4}, (1, 8, 8), "model.kernel_size: must be odd (got 4)"),
        (
            {"channels": [4, 6], "groups": 4},
            (1, 8, 8),
            "model.channels: must be multiples of model.groups, 4 (got [4, 6])",
        ),
        (
            {"channels": [4], "groups": 2},
            (1, 8, 8),
            "model.groups: needs a second convolution (got 2; allowed: 1)",
        ),
        (
            {},
            (12,),
            "model.name: does not support inputs of kind vector (inputs (12,)), which /data/paper.h5 contains "
            "(got 'cnn'; allowed: inputs of the kinds series, image, volume). "
            "Choose another architecture; `hpc-dl models NAME` shows the supported inputs",
        ),
    ],
)
def test_invalid_options_raise(parameters: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(shape, **parameters)
    assert str(caught.value) == message
