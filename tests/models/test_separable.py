"""The network of depthwise separable convolutions."""

from typing import Any

import pytest
import torch

from hpc_dl.errors import ConfigError
from hpc_dl.models.separable import Separable, SeparableConfig
from tests.experiments import spec, training_recipe


def build(shape: tuple[int, ...], **parameters: Any) -> Separable:
    torch.manual_seed(0)
    data = spec(input_shape=shape)
    model = SeparableConfig(**parameters).build(data, training_recipe(data))
    assert isinstance(model, Separable)
    return model


@pytest.mark.parametrize("num_axes", [1, 2, 3])
def test_number_of_parameters(num_axes: int) -> None:
    kernel = 5**num_axes
    model = build((2, *[8] * num_axes), channels=[4, 6], kernel_size=5, convolutions=2, norm="none")
    separable = sum(num_in * kernel + num_in + num_in * 6 + 6 for num_in in (4, 6))
    assert sum(parameter.numel() for parameter in model.parameters()) == 2 * 4 * kernel + 4 + separable + 6 * 3 + 3


@pytest.mark.parametrize("shape", [(1, 40), (1, 28, 28), (2, 9, 10, 11)], ids=["series", "image", "volume"])
def test_each_block_halves_the_size(shape: tuple[int, ...]) -> None:
    model = build(shape, channels=[4, 6, 8, 10]).eval()
    x = torch.rand(2, *shape)
    assert model.features(x).shape == (2, 10, *(-(-size // 8) for size in shape[1:]))
    assert model(x).shape == (2, 3)


def test_depthwise_convolution_keeps_channels_separate() -> None:
    model = build((1, 8, 8), channels=[4, 6], convolutions=1)
    depthwise, pointwise = model.features[2]  # after the first convolution and the pooling
    x = torch.rand(2, 4, 4, 4)
    changed = x.clone()
    changed[:, 1] += torch.rand(2, 4, 4)
    for layer, touched in [(depthwise, [False, True, False, False]), (pointwise, [True] * 6)]:
        difference = (layer[0](changed) - layer[0](x)).abs().flatten(2).amax((0, 2))
        assert (difference > 0).tolist() == touched


def test_even_kernel_size_raises() -> None:
    with pytest.raises(ConfigError, match=r"^model.kernel_size: must be odd \(got 2\)$"):
        build((1, 8, 8), kernel_size=2)
