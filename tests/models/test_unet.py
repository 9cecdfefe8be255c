"""The U-Net: levels, skip connections, and sizes that cannot be halved."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.unet import UNet, UNetConfig
from hpc_dl.nn.upsampling import crop, halved, linear_upsampling, pad_to_multiple, strided_upsampling, upsampling
from tests.experiments import spec, training_recipe


def labeled(shape: tuple[int, ...], num_classes: int = 3) -> DataSpec:
    target = FieldSpec("targets", shape[1:], "int64")
    return replace(spec(input_shape=shape, num_outputs=num_classes), task="segmentation", targets=(target,))


def built(config: UNetConfig, shape: tuple[int, ...]) -> UNet:
    torch.manual_seed(0)
    data = labeled(shape)
    model = config.build(data, training_recipe(data))
    assert isinstance(model, UNet)
    return model.eval()


@pytest.mark.parametrize("shape", [(1, 40, 56, 50), (2, 17, 13), (3, 29)])
def test_outputs_have_the_size_of_the_inputs(shape: tuple[int, ...]) -> None:
    model = built(UNetConfig(depth=3, width=2), shape)
    with torch.no_grad():
        assert model(torch.rand(2, *shape)).shape == (2, 3, *shape[1:])


def test_padding_does_not_shift_the_outputs() -> None:
    model = built(UNetConfig(depth=1, width=4), (1, 8, 40))
    x = torch.rand(1, 1, 8, 40)
    with torch.no_grad():
        torch.testing.assert_close(model(x[..., :31])[..., :16], model(x)[..., :16])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_number_of_parameters(axes: int) -> None:
    def level(num_in: int, num_out: int) -> int:  # two kernels without bias, scale and shift of two normalizations
        return 3**axes * (num_in * num_out + num_out**2) + 4 * num_out

    expected = level(2, 4) + level(4, 8) + level(8, 16)  # down, and the lowest level
    expected += (2**axes * 16 * 8 + 8) + level(16, 8)  # up: half of what comes in was skipped to
    expected += (2**axes * 8 * 4 + 4) + level(8, 4)
    expected += 4 * 3 + 3
    model = built(UNetConfig(depth=2, width=4), (2, *[8] * axes))
    assert sum(parameter.numel() for parameter in model.parameters()) == expected
    model = built(UNetConfig(depth=2, width=4, skips=False, upsampling="interpolation"), (2, *[8] * axes))
    fewer = 3**axes * (8 * 8 + 4 * 4) + (2**axes - 1) * (16 * 8 + 8 * 4)
    assert sum(parameter.numel() for parameter in model.parameters()) == expected - fewer


def test_every_skip_connection_is_used() -> None:
    model, x = built(UNetConfig(depth=2, width=4), (1, 8, 8)), torch.rand(1, 1, 8, 8)
    complete = model(x)
    for up in model.up:
        convolution = up[0][0]  # type: ignore[index]
        assert isinstance(convolution, nn.Conv2d)
        kept = convolution.weight.detach().clone()
        with torch.no_grad():
            convolution.weight[:, : convolution.in_channels // 2] = 0
            assert not torch.allclose(model(x), complete)
            convolution.weight.copy_(kept)
    assert torch.equal(model(x), complete)


def test_no_skip_connections() -> None:
    for skips in (True, False):
        model = built(UNetConfig(depth=2, width=4, skips=skips), (1, 8, 8))
        model.lowest.register_forward_hook(lambda module, inputs, outputs: torch.zeros_like(outputs))
        with torch.no_grad():
            one, other = model(torch.rand(2, 1, 8, 8))
        assert torch.equal(one, other) is not skips


def test_receptive_field() -> None:
    x = torch.rand(1, 1, 64, 64, requires_grad=True)
    reach = []
    for depth in (1, 2):
        model = built(UNetConfig(depth=depth, width=4, activation="elu", norm="none"), (1, 64, 64))
        (gradient,) = torch.autograd.grad(model(x)[0, 0, 32, 32], x)
        reach.append(int((gradient[0, 0].abs().sum(0) > 0).sum()))
    assert 16 < reach[0] < reach[1] - 16 < 48


def test_dropout_acts_in_training_only() -> None:
    model, x = built(UNetConfig(width=4, depth=1, dropout=0.9, norm="group"), (1, 8, 8)), torch.rand(2, 1, 8, 8)
    assert torch.equal(model(x), model(x))
    assert not torch.equal(model.train()(x), model(x))


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (
            UNetConfig(depth=4),
            (1, 40, 8),
            "model.depth: halves the inputs 4 times, but 40×8 can be halved only 3 times "
            "(got 4; allowed: at most 3 halvings)",
        ),
        (UNetConfig(kernel_size=2), (1, 8, 8), "model.kernel_size: must be odd (got 2)"),
    ],
)
def test_invalid_options_raise(config: UNetConfig, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        built(config, shape)
    assert str(caught.value) == message


def test_mismatched_targets_raise() -> None:
    data = replace(labeled((1, 8, 8)), targets=(FieldSpec("targets", (4, 4), "int64"),))
    with pytest.raises(ConfigError, match=r"data\.targets: must have one class for each position .*\(8, 8\)"):
        UNetConfig().build(data, training_recipe(data))


@pytest.mark.parametrize("sizes", [(7,), (8, 5), (6, 9, 4)])
@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_strided_upsampling_restores_sizes(sizes: tuple[int, ...], kernel_size: int) -> None:
    strided = [nn.Conv1d, nn.Conv2d, nn.Conv3d][len(sizes) - 1](2, 3, kernel_size, 2, kernel_size // 2)
    x = torch.rand(1, 2, *sizes)
    small = strided(x)
    assert list(small.shape[2:]) == halved(sizes)
    assert strided_upsampling(3, 2, kernel_size, sizes)(small).shape == x.shape


@pytest.mark.parametrize("name", ["transposed", "interpolation"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_upsampling_doubles_sizes(name: str, axes: int) -> None:
    x = torch.rand(2, 4, *[3, 5, 2][:axes])
    assert upsampling(name, axes, 4, 3)(x).shape == (2, 3, *[6, 10, 4][:axes])  # type: ignore[arg-type]


@pytest.mark.parametrize("factor", [2, 4])
def test_linear_upsampling_starts_as_interpolation(factor: int) -> None:
    for axes, mode in enumerate(["linear", "bilinear", "trilinear"], 1):
        layer, x = linear_upsampling(axes, 2, factor), torch.rand(1, 2, *[6] * axes)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        expected = nn.functional.interpolate(x, scale_factor=factor, mode=mode, align_corners=False)
        inner = (..., *[slice(factor, -factor)] * axes)  # at the margin, the convolution finds zeros
        torch.testing.assert_close(layer(x)[inner], expected[inner])


def test_crop_removes_padding() -> None:
    x = torch.rand(2, 3, 5, 8, 1)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (2, 3, 8, 8, 4)
    assert torch.equal(padded[:, :, 5:, :, 0], x[:, :, -1:, :, 0].expand(-1, -1, 3, -1))
    assert torch.equal(crop(padded, x.shape[2:]), x)
    assert pad_to_multiple(padded, 4) is padded
