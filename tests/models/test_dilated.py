"""Dilated convolutions: the receptive field, and a class for each position."""

import dataclasses
from typing import Any

import pytest
import torch

from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.errors import ConfigError
from hpc_dl.models.dilated import Dilated, DilatedConfig
from tests.experiments import spec, training_recipe

SHAPES = {"series": (1, 70), "image": (1, 40, 36), "volume": (1, 18, 20, 19)}


def labels(shape: tuple[int, ...], labeled: tuple[int, ...] | None = None) -> DataSpec:
    """Data with a class for each position."""
    target = FieldSpec("targets", shape[1:] if labeled is None else labeled, "int64")
    return dataclasses.replace(spec("segmentation", input_shape=shape), targets=(target,))


def build(data: DataSpec, **parameters: Any) -> Dilated:
    torch.manual_seed(0)
    model = DilatedConfig(**parameters).build(data, training_recipe(data))
    assert isinstance(model, Dilated)
    return model


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("layers", "kernel_size"), [(1, 3), (3, 3), (2, 5)])
def test_receptive_field(shape: tuple[int, ...], layers: int, kernel_size: int) -> None:
    settings: dict[str, Any] = {"norm": "none", "activation": "none", "width": 2}
    model = build(labels(shape), layers=layers, kernel_size=kernel_size, **settings)
    x = torch.randn(1, *shape, requires_grad=True)
    middle = tuple(size // 2 for size in shape[1:])
    model(x).sum(1)[(0, *middle)].backward()
    assert x.grad is not None
    places = x.grad[0, 0].nonzero()
    reach = (places.amax(0) - places.amin(0) + 1).tolist()
    assert reach == [min(1 + (kernel_size - 1) * 2**layers, size) for size in shape[1:]]
    # no gaps: the first two layers have dilation 1 and fill the gaps of the others
    assert len(places) == torch.tensor(reach).prod()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_outputs_per_position_and_per_sample(shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *shape)
    model = build(labels(shape), width=4, layers=2)
    assert model(x).shape == (2, 3, *shape[1:])
    target = torch.randint(3, (2, *shape[1:]))
    assert model.training_step((x, target), 0).isfinite()
    judge = build(spec(input_shape=shape), width=4, layers=2).eval()
    assert judge(x).shape == (2, 3)
    dense = judge.classifier[-1]
    torch.testing.assert_close(judge(x), dense(judge.features(x).flatten(2).mean(2)))


def test_stride_reduces_the_size() -> None:
    model = build(spec(input_shape=(1, 28, 28)), width=4, stride=2)
    assert model.features(torch.rand(2, 1, 28, 28)).shape == (2, 4, 14, 14)


@pytest.mark.slow
def test_learns_from_distant_positions() -> None:
    """The class of each step is the sign of the value 6 steps before, outside a single kernel."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(16, 1, 40, generator=generator)
    y = (x[:, 0].roll(6, 1) > 0).long()
    data = labels((1, 40))
    accuracy = {}
    for layers in (1, 3):
        model = build(data, width=16, layers=layers)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            optimizer.zero_grad()
            model.training_step((x, y), 0).backward()
            optimizer.step()
        inside = slice(8, -8)
        accuracy[layers] = (model.eval()(x).argmax(1) == y)[:, inside].float().mean().item()
    assert accuracy[3] > 0.95
    assert accuracy[1] < 0.8


@pytest.mark.parametrize(
    ("data", "parameters", "message"),
    [
        (spec(input_shape=(1, 8, 8)), {"kernel_size": 2}, "model.kernel_size: must be odd (got 2)"),
        (labels((1, 8, 8)), {"stride": 2}, "model.stride: must be 1 for a target at each position (got 2)"),
        (
            labels((1, 8, 8), (4, 4)),
            {},
            "model.name: predicts a class at each of 8×8 positions, but the targets of /data/paper.h5 have "
            "the shape (4, 4) (got 'dilated'). "
            "Choose another architecture; `hpc-dl models NAME` shows the supported tasks",
        ),
    ],
)
def test_invalid_options_raise(data: DataSpec, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(data, **parameters)
    assert str(caught.value) == message
