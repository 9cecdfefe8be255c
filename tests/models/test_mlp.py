"""The multi-layer perceptron: its layers, and XOR."""

import pytest
import torch
from torch import nn

from hpc_dl.errors import ConfigError
from hpc_dl.models.mlp import MLP, MLPConfig
from tests.experiments import spec, training_recipe

IMAGES = spec(input_shape=(1, 8, 8))


def built(config: MLPConfig) -> MLP:
    model = config.build(IMAGES, training_recipe(IMAGES))
    assert isinstance(model, MLP)
    return model


def test_widths_per_layer() -> None:
    layers = [layer for layer in built(MLPConfig(widths=[7, 5])).modules() if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in layers] == [(64, 7), (7, 5), (5, 3)]


def test_widths_in_the_configuration_of_a_run() -> None:
    saved = MLPConfig(widths=[7, 5]).model_dump()  # with all defaults
    assert len([layer for layer in built(MLPConfig(**saved)).modules() if isinstance(layer, nn.Linear)]) == 3


def test_equal_widths_match_depth_and_width() -> None:
    outputs = []
    for config in (MLPConfig(depth=2, width=6), MLPConfig(widths=[6, 6])):
        torch.manual_seed(0)
        outputs.append(built(config)(torch.linspace(-1, 1, 64).reshape(1, 1, 8, 8)))
    assert torch.equal(*outputs)


def test_conflicting_sizes_raise() -> None:
    with pytest.raises(ConfigError) as caught:
        built(MLPConfig(depth=3, width=4, widths=[7, 5]))
    assert str(caught.value) == (
        "model.widths: replaces model.depth and model.width (got [7, 5]). Keep only one of them"
    )


@pytest.mark.parametrize(("norm", "layer"), [("batch", nn.BatchNorm1d), ("layer", nn.LayerNorm)])
def test_normalization_precedes_activation(norm: str, layer: type[nn.Module]) -> None:
    model = built(MLPConfig(depth=2, width=5, norm=norm))  # type: ignore[arg-type]
    assert [type(child) for child in model.hidden] == [nn.Linear, layer, nn.ReLU] * 2
    assert sum(parameter.numel() for parameter in model.parameters()) == 64 * 5 + 10 + 5 * 5 + 10 + 5 * 3 + 3


def test_normalization_reduces_the_effect_of_scale() -> None:
    x = torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for norm in ("batch", "layer"):
        model = built(MLPConfig(norm=norm)).train()  # type: ignore[arg-type]
        torch.testing.assert_close(model(x), model(1000 * x), rtol=1e-2, atol=1e-2)
    plain = built(MLPConfig())
    assert not torch.allclose(plain(x), plain(1000 * x), rtol=1e-1, atol=1e-1)


@pytest.mark.slow
def test_learns_xor_from_20_seeds() -> None:
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([0, 1, 1, 0])
    data = spec(input_shape=(2,), num_outputs=2)
    solved = 0
    for seed in range(20):
        torch.manual_seed(seed)
        model = MLPConfig(depth=1, width=8, activation="tanh").build(data, training_recipe(data))
        assert isinstance(model, MLP)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for _ in range(60):
            optimizer.zero_grad()
            model.training_step((2 * x - 1, y), 0).backward()
            optimizer.step()
        solved += torch.equal(model(2 * x - 1).argmax(1), y)
    assert solved == 20
