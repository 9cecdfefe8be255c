"""Convolutions and pooling along one, two and three axes, compared with torch and with formulas."""

import itertools
import math

import pytest
import torch
from torch import nn

from hpc_dl.nn.convolution import (
    NormName,
    PaddingName,
    convolution,
    convolution_block,
    normalization,
    separable_convolution,
    size_after,
    stem,
)
from hpc_dl.nn.pooling import (
    GlobalAverage,
    PoolingName,
    SumPool,
    overlapping_max_pooling,
    pooling,
    size_after_pooling,
)

AXES = (1, 2, 3)


def num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_size_after_matches_the_convolution(padding: PaddingName) -> None:
    for size, kernel_size, stride, dilation in itertools.product((7, 8, 13), (1, 3, 5), (1, 2, 3), (1, 2, 3)):
        expected = size_after(size, kernel_size, stride, dilation, padding)
        if expected < 1:
            assert size < 1 + dilation * (kernel_size - 1)
            continue
        layer = convolution(1, 1, 1, kernel_size, stride=stride, dilation=dilation, padding=padding)
        assert layer(torch.zeros(1, 1, size)).shape == (1, 1, expected)
        if padding == "same":
            assert expected == -(-size // stride)


@pytest.mark.parametrize("num_axes", AXES)
def test_convolution_matches_torch(num_axes: int) -> None:
    torch.manual_seed(0)
    sizes = (6, 5, 7)[:num_axes]
    layer = convolution(num_axes, 2, 3, 3, dilation=2)
    torch_layer = type(layer)(2, 3, 3, dilation=2, padding="same")  # type: ignore[call-arg]
    torch_layer.load_state_dict(layer.state_dict())
    x = torch.randn(2, 2, *sizes)
    torch.testing.assert_close(layer(x), torch_layer(x))
    pixel = torch.zeros(1, 2, *sizes)
    pixel[(0, 1, *[3] * num_axes)] = 1
    seen = layer(pixel)[0] - layer(torch.zeros_like(pixel))[0]
    assert isinstance(layer.weight, torch.Tensor)
    torch.testing.assert_close(seen[(slice(None), *[3] * num_axes)], layer.weight[(slice(None), 1, *[1] * num_axes)])
    torch.testing.assert_close(seen[(slice(None), *[1] * num_axes)], layer.weight[(slice(None), 1, *[2] * num_axes)])


@pytest.mark.parametrize("num_axes", AXES)
def test_groups_are_independent(num_axes: int) -> None:
    torch.manual_seed(0)
    layer = convolution(num_axes, 4, 6, 3, groups=2, bias=False)
    assert num_parameters(layer) == 4 * 6 * 3**num_axes // 2
    x = torch.randn(1, 4, *[5] * num_axes)
    changed = x.clone()
    changed[:, :2] += 1
    difference = (layer(changed) - layer(x)).abs().flatten(2).amax(2)[0]
    assert (difference[:3] > 0.01).all() and (difference[3:] == 0).all()


@pytest.mark.parametrize("num_axes", AXES)
@pytest.mark.parametrize("size", [2, 3])
def test_pooling_of_each_window(num_axes: int, size: int) -> None:
    x = torch.randn(2, 3, *(7, 6, 5)[:num_axes], generator=torch.Generator().manual_seed(0))
    windows = x
    for axis in range(2, 2 + num_axes):
        windows = windows.unfold(axis, size, size)
    windows = windows.flatten(2 + num_axes)
    torch.testing.assert_close(pooling("max", num_axes, size)(x), windows.amax(-1))
    torch.testing.assert_close(pooling("average", num_axes, size)(x), windows.mean(-1))
    torch.testing.assert_close(pooling("sum", num_axes, size)(x), windows.sum(-1))
    assert pooling("none", num_axes, size)(x) is x
    torch.testing.assert_close(GlobalAverage()(x), x.mean(tuple(range(2, 2 + num_axes))))


@pytest.mark.parametrize("kind", ["max", "average", "sum"])
@pytest.mark.parametrize(("length", "size"), [(6, 2), (7, 2), (7, 3), (8, 3), (1, 3), (5, 4)])
def test_same_pooling_equals_its_formula(kind: PoolingName, length: int, size: int) -> None:
    """⌈n / s⌉ windows from −⌊(⌈n / s⌉ s − n) / 2⌋; each over the positions that exist."""
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(0)) - 5  # 0 would be the maximum
    number = math.ceil(length / size)
    first = -((number * size - length) // 2)
    of_window = {"max": torch.amax, "average": torch.mean, "sum": torch.sum}[kind]
    starts = [first + size * n for n in range(number)]
    expected = torch.stack([of_window(x[..., max(0, i) : i + size], -1) for i in starts], -1)
    torch.testing.assert_close(pooling(kind, 1, size, "same")(x), expected)
    assert size_after_pooling(length, size, "same") == number


def test_same_pooling_of_images_pads_each_axis() -> None:
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    assert pooling("max", 2, 2, "same")(x).tolist() == [[[[6, 8, 9], [11, 13, 14]]]]
    assert pooling("average", 2, 2, "same")(x).tolist() == [[[[3, 5, 6.5], [10.5, 12.5, 14]]]]


def test_sum_pooling_matches_torch_and_has_gradients_at_0() -> None:
    x = torch.randn(2, 3, 8, 9)
    torch.testing.assert_close(SumPool(2, 2)(x), nn.LPPool2d(1, 2)(x))
    zeros = torch.zeros(1, 1, 4, requires_grad=True)
    SumPool(1, 2)(zeros).sum().backward()
    assert zeros.grad is not None and zeros.grad.tolist() == [[[1, 1, 1, 1]]]


@pytest.mark.parametrize("kind", ["max", "average", "sum"])
def test_pooling_at_the_border(kind: PoolingName) -> None:
    x = torch.tensor([[[1.0, 2.0, 5.0, 3.0, 9.0]]])
    expected = {"max": [2, 5], "average": [1.5, 4], "sum": [3, 8]}[kind]
    assert pooling(kind, 1, 2)(x).tolist() == [[expected]]
    assert overlapping_max_pooling(1)(x).tolist() == [[[2, 5, 9]]]
    assert overlapping_max_pooling(1, stride=1)(x).tolist() == [[[2, 5, 5, 9, 9]]]


@pytest.mark.parametrize("num_axes", AXES)
@pytest.mark.parametrize(
    ("name", "over"), [("batch", "all samples"), ("layer", "all channels"), ("group", "two channels")]
)
def test_normalization_gives_mean_0_and_variance_1(num_axes: int, name: NormName, over: str) -> None:
    x = 3 + 2 * torch.randn(4, 16, *[6] * num_axes, generator=torch.Generator().manual_seed(0))
    y = normalization(name, num_axes, 16)(x)
    assert y.shape == x.shape
    parts = {
        "all samples": y.transpose(0, 1).flatten(1),
        "all channels": y.flatten(1),
        "two channels": y.unflatten(1, (8, 2)).flatten(2),
    }[over]
    torch.testing.assert_close(parts.mean(-1), torch.zeros(parts.shape[:-1]), atol=1e-4, rtol=0)
    torch.testing.assert_close(parts.var(-1, correction=0), torch.ones(parts.shape[:-1]), atol=1e-3, rtol=0)


def test_convolution_bias_depends_on_normalization() -> None:
    assert num_parameters(convolution_block(2, 3, 5, 3, norm="none")) == 3 * 5 * 9 + 5
    assert num_parameters(convolution_block(2, 3, 5, 3, norm="none", bias=False)) == 3 * 5 * 9
    for norm in ("batch", "layer", "group"):
        assert num_parameters(convolution_block(2, 3, 5, 3, norm=norm)) == 3 * 5 * 9 + 2 * 5  # type: ignore[arg-type]


@pytest.mark.parametrize("num_axes", AXES)
def test_separable_convolution_number_of_weights(num_axes: int) -> None:
    num_in, num_out, kernel = 16, 24, 3**num_axes
    layer = separable_convolution(num_axes, num_in, num_out, 3, norm="none")
    weights = sum(p.numel() for p in layer.parameters() if p.ndim > 1)
    plain = sum(p.numel() for p in convolution(num_axes, num_in, num_out, 3).parameters() if p.ndim > 1)
    assert weights == num_in * kernel + num_in * num_out
    assert plain == num_in * num_out * kernel
    assert weights / plain == pytest.approx(1 / num_out + 1 / kernel)  # Howard et al., 2017, section 3.1
    assert layer(torch.zeros(2, num_in, *[5] * num_axes)).shape == (2, num_out, *[5] * num_axes)


def test_separable_convolution_equals_factorized_kernels() -> None:
    torch.manual_seed(0)
    layer = separable_convolution(2, 3, 4, norm="none", activation_name="none")
    depthwise, pointwise = layer[0][0], layer[1][0]
    plain = convolution(2, 3, 4, 3)
    with torch.no_grad():
        plain.weight.copy_(pointwise.weight * depthwise.weight.transpose(0, 1))  # type: ignore[operator]
        plain.bias.copy_(pointwise.bias + pointwise.weight[:, :, 0, 0] @ depthwise.bias)  # type: ignore[operator]
    x = torch.randn(2, 3, 6, 6)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(layer(x)[inside], plain(x)[inside])


@pytest.mark.parametrize(
    ("name", "size", "left"),
    [("small", 64, 64), ("medium", 64, 32), ("large", 64, 16), ("auto", 64, 16), ("auto", 63, 63), ("large", 1, 1)],
)
def test_stem_sizes(name: str, size: int, left: int) -> None:
    for num_axes in (1, 2):
        sizes = tuple([size] * num_axes)
        layers = stem(name, num_axes, 3, 4, sizes).eval()  # type: ignore[arg-type]
        assert layers(torch.zeros(1, 3, *sizes)).shape == (1, 4, *[left] * num_axes)
