"""Initial weights: their distributions, and whether they preserve signals in deep networks."""

import math
from typing import Any, get_args

import pytest
import torch
from torch import nn

from hpc_dl.nn.activations import ACTIVATIONS, ActivationName, activation
from hpc_dl.nn.dense import dense_block
from hpc_dl.nn.initialization import Initialization, WeightsName, fans, initialization_warning, initialize, initialized

LAYERS: list[tuple[Any, tuple[float, float]]] = [
    # layer, fan-in and fan-out
    (nn.Linear(30, 50), (30, 50)),
    (nn.Conv1d(4, 6, 5), (4 * 5, 6 * 5)),
    (nn.Conv2d(4, 6, (3, 5)), (4 * 15, 6 * 15)),
    (nn.Conv3d(4, 6, 3), (4 * 27, 6 * 27)),
    (nn.Conv2d(8, 12, 3, groups=4), (2 * 9, 3 * 9)),
    (nn.Conv2d(16, 16, 3, groups=16), (9, 9)),  # depthwise
    (nn.Conv2d(4, 6, 4, stride=2), (4 * 16, 6 * 4)),
    (nn.Conv2d(4, 6, 3, dilation=2), (4 * 9, 6 * 9)),
    (nn.ConvTranspose1d(4, 6, 5), (4 * 5, 6 * 5)),
    (nn.ConvTranspose2d(4, 6, 2, stride=2), (4, 6 * 4)),  # each output comes from one position alone
    (nn.ConvTranspose2d(8, 12, 4, stride=2, groups=2), (4 * 4, 6 * 16)),
    (nn.ConvTranspose3d(4, 6, 2, stride=2), (4, 6 * 8)),
]


def named(value: object) -> str:
    return str(value).replace(" ", "") if isinstance(value, nn.Module) else ""


@pytest.mark.parametrize(("layer", "expected"), LAYERS, ids=named)
def test_fans_equal_the_counted_connections(layer: Any, expected: tuple[float, float]) -> None:
    assert fans(layer) == expected
    with torch.no_grad():
        layer.weight.fill_(1)
        layer.bias.zero_()
    if isinstance(layer, nn.Linear):
        x = torch.ones(1, layer.in_features, requires_grad=True)
        inside: Any = ...
    else:
        x = torch.ones(1, layer.in_channels, *[16] * (layer.weight.ndim - 2), requires_grad=True)
        inside = (..., *[slice(4, -4)] * (layer.weight.ndim - 2))  # where no border is near
    y = layer(x)
    y.sum().backward()
    assert x.grad is not None
    grows = "Transpose" in type(layer).__name__  # its outputs have borders, the inputs of the others
    assert y[inside if grows else ...].mean().item() == expected[0]
    assert x.grad[... if grows else inside].mean().item() == expected[1]


PLAIN = [layer for layer, _ in LAYERS if isinstance(layer, nn.Linear) or (layer.groups, set(layer.stride)) == (1, {1})]


@pytest.mark.parametrize("layer", PLAIN, ids=named)
def test_fans_match_torch_for_plain_layers(layer: Any) -> None:
    num_in, num_out = nn.init._calculate_fan_in_and_fan_out(layer.weight)
    swapped = "Transpose" in type(layer).__name__
    assert fans(layer) == ((num_out, num_in) if swapped else (num_in, num_out))


@pytest.mark.parametrize(
    ("weights", "deviation", "bound"),
    [
        ("glorot_uniform", math.sqrt(2 / 700), math.sqrt(6 / 700)),
        ("glorot_normal", math.sqrt(2 / 700), None),
        ("he_uniform", math.sqrt(2 / 300), math.sqrt(6 / 300)),
        ("he_normal", math.sqrt(2 / 300), None),
        ("normal", 0.05, None),
    ],
)
def test_weights_follow_the_distribution(weights: WeightsName, deviation: float, bound: float | None) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(300, 400)
    initialize(layer, Initialization(weights=weights, std=0.05))
    actual = layer.weight.detach()
    assert actual.mean().item() == pytest.approx(0, abs=0.02 * deviation)
    assert actual.std().item() == pytest.approx(deviation, rel=0.01)
    if bound is not None:
        assert actual.abs().max().item() == pytest.approx(bound, rel=1e-3) and actual.abs().max() <= bound
    else:  # a normal distribution: 4.55 % lie beyond two standard deviations
        assert (actual.abs() > 2 * deviation).float().mean().item() == pytest.approx(0.0455, abs=0.003)


@pytest.mark.parametrize("weights", ["glorot_uniform", "glorot_normal", "he_uniform", "he_normal"])
def test_dense_layers_match_torch_initializers(weights: WeightsName) -> None:
    theirs = {
        "glorot_uniform": nn.init.xavier_uniform_,
        "glorot_normal": nn.init.xavier_normal_,
        "he_uniform": lambda weight: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
        "he_normal": lambda weight: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    }[weights]
    layer, reference = nn.Linear(30, 50), torch.empty(50, 30)
    torch.manual_seed(3)
    initialize(layer, Initialization(weights=weights))
    torch.manual_seed(3)
    theirs(reference)
    torch.testing.assert_close(layer.weight.detach(), reference, rtol=1e-6, atol=0)


def test_zeros_orthogonal_and_the_bias() -> None:
    layer = nn.Linear(5, 3)
    initialize(layer, Initialization(weights="zeros", bias=0.01))
    assert layer.weight.count_nonzero() == 0
    assert torch.equal(layer.bias, torch.full((3,), 0.01))
    initialize(layer, Initialization(weights="orthogonal", bias=0.0))
    torch.testing.assert_close(layer.weight @ layer.weight.T, torch.eye(3))
    assert layer.bias.count_nonzero() == 0


def test_auto_and_other_layers_are_unchanged() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.Linear(3, 2, bias=False))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialize(network, Initialization())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    initialize(network, Initialization(weights="he_normal", bias=0.5))
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"0.weight", "0.bias", "2.weight"}


@pytest.mark.parametrize(("kind", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_gates_are_initialized_separately(kind: type[nn.RNNBase], gates: int) -> None:
    torch.manual_seed(0)
    layer = kind(200, 100, num_layers=2, bidirectional=True)
    biases = {name: value.clone() for name, value in layer.named_parameters() if name.startswith("bias")}
    initialize(layer, Initialization(weights="glorot_normal", bias=0.5))
    own = dict(layer.named_parameters())
    for name, inputs in [("weight_ih_l0", 200), ("weight_hh_l0_reverse", 100), ("weight_ih_l1", 200)]:
        for gate in own[name].detach().split(100):
            assert gate.std().item() == pytest.approx(math.sqrt(2 / (inputs + 100)), rel=0.03)
    initialize(layer, Initialization(weights="orthogonal"))
    matrices = own["weight_hh_l1"].detach().split(100)
    assert len(matrices) == gates
    for gate in matrices:
        torch.testing.assert_close(gate @ gate.T, torch.eye(100), rtol=0, atol=1e-5)
    assert all(parameter.requires_grad for parameter in layer.parameters())
    assert all(torch.equal(own[name], value) for name, value in biases.items()), "a forget gate may be set on purpose"


@pytest.mark.parametrize("weights", get_args(WeightsName))
@pytest.mark.parametrize("layer", [nn.Linear, nn.Conv2d, nn.ConvTranspose2d])
def test_seed_determines_weights_and_meta_device_works(weights: WeightsName, layer: Any) -> None:
    def started(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        made = layer(4, 6) if layer is nn.Linear else layer(4, 6, 3)
        initialize(made, Initialization(weights=weights))
        weight: torch.Tensor = made.weight.detach()
        return weight

    assert torch.equal(started(1), started(1))
    assert torch.equal(started(1), started(2)) is (weights == "zeros")
    with torch.device("meta"):
        assert started(1).is_meta


def spread(weights: WeightsName, name: ActivationName, layers: int = 20) -> float:
    """Return the standard deviation after several layers, for inputs of standard deviation 1."""
    torch.manual_seed(0)
    network = nn.Sequential(*(part for _ in range(layers) for part in (nn.Linear(200, 200), activation(name, 200))))
    initialize(network, Initialization(weights=weights, bias=0.0))
    with torch.no_grad():
        actual: float = network(torch.randn(200, 200)).square().mean().sqrt().item()
    return actual


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_auto_is_glorot_for_five_activations_and_he_otherwise(name: str) -> None:
    torch.manual_seed(0)
    layer = initialized(nn.Conv2d(40, 90, 3), name)
    outputs = {"maxout": 45}.get(name, 90)  # units of two pieces
    glorot = name in ("none", "tanh", "sigmoid", "selu", "maxout")
    expected = 2 / (9 * (40 + outputs)) if glorot else 2 / (9 * 40)
    assert layer.weight.var().item() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "tanh", "selu", "maxout", "apl"])
def test_auto_carries_signals_through_twenty_layers(name: ActivationName) -> None:
    """With torch's own weights 20 ReLU layers shrink differences between inputs by 10⁸."""
    torch.manual_seed(0)
    network = nn.Sequential(*(part for _ in range(20) for part in dense_block(200, 200, name)))
    with torch.no_grad():
        outputs = network(torch.randn(200, 200))
    assert 0.02 < outputs.std(0).square().mean().sqrt() < 50
    torch.manual_seed(0)
    plain = nn.Sequential(*(part for _ in range(20) for part in (nn.Linear(200, 200), nn.ReLU())))
    with torch.no_grad():
        assert plain(torch.randn(200, 200)).std(0).square().mean().sqrt() < 1e-6


def test_he_preserves_relu_signals_and_glorot_does_not() -> None:
    assert 0.3 < spread("he_normal", "relu") < 3
    assert 0.3 < spread("he_uniform", "relu") < 3
    assert spread("glorot_uniform", "relu") < 3 * 2**-10, "half the variance is lost in each layer"


def test_glorot_preserves_linear_signals_and_he_saturates_tanh() -> None:
    assert 0.5 < spread("glorot_normal", "none") < 2
    assert spread("he_normal", "none") > 500
    assert spread("he_normal", "tanh") > 2 * spread("glorot_normal", "tanh")


@pytest.mark.parametrize(
    "layer",
    [nn.ConvTranspose2d(32, 32, 2, stride=2), nn.ConvTranspose2d(32, 32, 4, stride=2), nn.Conv2d(32, 32, 3, groups=32)],
)
def test_he_preserves_signals_of_all_convolutions(layer: Any) -> None:
    torch.manual_seed(0)
    initialize(layer, Initialization(weights="he_normal", bias=0.0))
    with torch.no_grad():
        y = layer(torch.randn(8, 32, 24, 24))[..., 4:-4, 4:-4]
    assert y.square().mean().item() == pytest.approx(2, rel=0.15), "twice the variance, half of which a ReLU cuts off"


@pytest.mark.parametrize(
    ("weights", "name", "message"),
    [
        (
            "he_normal",
            "tanh",
            "model.init.weights: he_normal is made for ReLU; tanh learns better from glorot_uniform",
        ),
        (
            "he_uniform",
            "sigmoid",
            "model.init.weights: he_uniform is made for ReLU; sigmoid learns better from glorot_uniform",
        ),
        (
            "glorot_uniform",
            "relu",
            "model.init.weights: glorot_uniform is made for tanh; relu learns better from he_normal",
        ),
        (
            "glorot_normal",
            "prelu",
            "model.init.weights: glorot_normal is made for tanh; prelu learns better from he_normal",
        ),
        ("he_normal", "relu", None),
        ("he_uniform", "apl", None),
        ("glorot_uniform", "maxout", None),
        ("glorot_uniform", "tanh", None),
        ("glorot_uniform", "sigmoid", None),
        ("glorot_uniform", "none", None),
        ("auto", "relu", None),
        ("normal", "tanh", None),
    ],
)
def test_initialization_warning(weights: WeightsName, name: str, message: str | None) -> None:
    assert initialization_warning(Initialization(weights=weights), name) == message
