"""Inception networks: the four branches and their proportions."""

from typing import Any

import pytest
import torch

from hpc_dl.errors import ConfigError
from hpc_dl.models.inception import Inception, InceptionBlock, InceptionConfig
from hpc_dl.schema import parse
from tests.experiments import spec, training_recipe


def build(shape: tuple[int, ...], **parameters: Any) -> Inception:
    torch.manual_seed(0)
    data = spec(input_shape=shape)
    model = InceptionConfig(**parameters).build(data, training_recipe(data))
    assert isinstance(model, Inception)
    return model


def test_first_block_has_the_weights_of_googlenet() -> None:
    block = InceptionBlock(2, 192, 64, "none")
    weights = sum(parameter.numel() for parameter in block.parameters() if parameter.ndim > 1)
    # Szegedy et al. (2015), table 1, inception (3a): 64, 96 → 128, 16 → 32, 32
    assert weights == 192 * (64 + 96 + 16 + 32) + 96 * 128 * 9 + 16 * 32 * 25
    assert block(torch.zeros(1, 192, 28, 28)).shape == (1, 256, 28, 28)


@pytest.mark.parametrize("num_axes", [1, 2, 3])
def test_receptive_fields_of_the_branches(num_axes: int) -> None:
    block = InceptionBlock(num_axes, 1, 4, "none")
    for parameter in block.parameters():
        torch.nn.init.constant_(parameter, 1.0 if parameter.ndim > 1 else 0.0)
    size = 7
    impulses = torch.eye(size**num_axes).reshape(-1, 1, *[size] * num_axes)  # one at each position in turn
    for branch, width, reach in zip(block.branches, (4, 8, 2, 2), (1, 3, 5, 3), strict=True):
        outputs = branch(impulses)
        assert outputs.shape == (size**num_axes, width, *[size] * num_axes)
        felt = outputs[(slice(None), 0, *[size // 2] * num_axes)].reshape([size] * num_axes).nonzero()
        assert (felt.amin(0) == (size - reach) // 2).all() and (felt.amax(0) == (size + reach) // 2 - 1).all()
        assert len(felt) == reach**num_axes


def test_block_concatenates_its_branches() -> None:
    torch.manual_seed(0)
    block = InceptionBlock(2, 3, 4, "batch").eval()
    x = torch.randn(2, 3, 6, 6)
    parts = block(x).split([4, 8, 2, 2], 1)
    for branch, part in zip(block.branches, parts, strict=True):
        torch.testing.assert_close(branch(x), part)


@pytest.mark.parametrize("shape", [(1, 40), (1, 28, 28), (2, 9, 10, 11)], ids=["series", "image", "volume"])
def test_stage_sizes(shape: tuple[int, ...]) -> None:
    model = build(shape, width=4, blocks=[1, 2, 1]).eval()
    x = model.stem(torch.rand(2, *shape))
    actual = []
    for block in model.blocks:
        x = block(x)
        if isinstance(block, InceptionBlock):
            actual.append(tuple(x.shape[1:]))
    expected = [(16 * 2**n, *(-(-size // 2**n) for size in shape[1:])) for n in range(3)]
    assert actual == [expected[0], expected[1], expected[1], expected[2]]


def test_width_must_be_a_multiple_of_4() -> None:
    with pytest.raises(ConfigError, match=r"model.width: must be a multiple of 4 \(got 6\)"):
        parse(InceptionConfig, {"width": 6}, "model")
