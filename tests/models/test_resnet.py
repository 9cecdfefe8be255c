"""Residual networks: published sizes, residual blocks, and the sizes of the stages."""

from typing import Any

import pytest
import torch

from hpc_dl.models.resnet import Residual, ResNet, ResNetConfig
from tests.experiments import spec, training_recipe


def build(shape: tuple[int, ...], num_outputs: int = 3, **parameters: Any) -> ResNet:
    torch.manual_seed(0)
    data = spec(input_shape=shape, num_outputs=num_outputs)
    model = ResNetConfig(**parameters).build(data, training_recipe(data))
    assert isinstance(model, ResNet)
    return model


@pytest.mark.parametrize(("depth", "expected"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)])
def test_number_of_parameters_matches_the_paper(depth: int, expected: int) -> None:
    with torch.device("meta"):
        model = build((3, 224, 224), 1000, depth=depth)
        assert model.stem(torch.empty(2, 3, 224, 224)).shape == (2, 64, 56, 56)
        assert model.eval()(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    # the depth counts the layers with weights from input to output, without the shortcuts
    counted = [name for name, p in model.named_parameters() if p.ndim > 1 and "shortcut" not in name]
    assert len(counted) == depth


@pytest.mark.parametrize("bottleneck", [False, True])
def test_block_with_zero_weights_is_the_identity(bottleneck: bool) -> None:
    block = Residual(2, 8, 2 if bottleneck else 8, 1, "batch", bottleneck)
    x = torch.rand(3, 8, 5, 5)
    assert not torch.allclose(block(x), x)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(block(x), x)
    torch.testing.assert_close(block(-x), torch.zeros_like(x))  # the activation comes after the sum


def test_block_matches_the_formula() -> None:
    torch.manual_seed(0)
    block = Residual(2, 4, 8, 2, "batch").eval()
    x = torch.randn(2, 4, 7, 7)
    torch.testing.assert_close(block(x), (block.shortcut(x) + block.layers(x)).clamp(min=0))
    assert block(x).shape == (2, 8, 4, 4)
    assert [tuple(layer.weight.shape) for layer in (block.shortcut[0],)] == [(8, 4, 1, 1)]  # type: ignore[index]


@pytest.mark.parametrize("shape", [(1, 40), (1, 28, 28), (2, 9, 10, 11)], ids=["series", "image", "volume"])
@pytest.mark.parametrize("depth", [18, 50])
def test_stage_sizes(shape: tuple[int, ...], depth: int) -> None:
    model = build(shape, width=4, depth=depth).eval()
    x = model.stem(torch.rand(2, *shape))
    assert x.shape == (2, 4, *shape[1:])
    actual = []
    for block in model.blocks:
        x = block(x)
        actual.append(tuple(x.shape[1:]))
    expected = [(4 * 2**n * (4 if depth == 50 else 1), *(-(-size // 2**n) for size in shape[1:])) for n in range(4)]
    assert list(dict.fromkeys(actual)) == expected


def test_auto_stem_depends_on_the_image_size() -> None:
    assert build((1, 63, 80), width=2).stem(torch.zeros(2, 1, 63, 80)).shape == (2, 2, 63, 80)
    assert build((1, 64, 80), width=2).stem(torch.zeros(2, 1, 64, 80)).shape == (2, 2, 16, 20)
    assert build((1, 64, 80), width=2, stem="medium").stem(torch.zeros(2, 1, 64, 80)).shape == (2, 2, 32, 40)


def test_initial_weights_preserve_the_signal() -> None:
    model = build((3, 16, 16), width=32)
    for name, weight in model.named_parameters():
        if weight.ndim == 4:
            expected = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5
            assert weight.std().item() == pytest.approx(expected, rel=0.1), name
