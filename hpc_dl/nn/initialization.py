"""Weight initialization: the ``model.init`` section."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal, TypeVar, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from hpc_dl.nn.activations import ActivationSetting, name_of, pieces
from hpc_dl.schema import Section

WeightsName = Literal[
    "auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "normal", "orthogonal", "zeros"
]

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Linear, *_CONVOLUTIONS, *_TRANSPOSED)
Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
L = TypeVar("L", bound=Layer)
#: Fan-in and fan-out: inputs of one output, outputs of one input.
Fans = tuple[float, float]


class Initialization(Section):
    """Initial weights of dense, convolutional and recurrent layers."""

    weights: WeightsName = "auto"
    """``auto``: ``he_normal`` for layers before ReLU and its relatives, ``glorot_uniform`` before
    tanh, sigmoid, SELU, maxout and ``none``; for other layers (outputs, recurrent, attention) the
    architecture's own; ``glorot_uniform``: U(−r, r) with r = √(6 / (fan-in +
    fan-out)), and ``glorot_normal``, for tanh and sigmoid (Glorot and Bengio, 2010); ``he_normal``:
    N(0, 2 / fan-in), and ``he_uniform``, for ReLU (He et al., 2015); ``normal``: N(0, std²);
    ``orthogonal`` (Saxe et al., 2014); ``zeros``."""
    std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of ``normal``."""
    bias: Annotated[float, Field()] | None = None
    """Initial bias of dense and convolutional layers, such as 0, or 0.01 so that every ReLU is
    active at first; null: the architecture's own."""


def initialize(module: nn.Module, init: Initialization) -> None:
    """Initialize the weights of all dense, convolutional and recurrent layers of a module.

    Each gate of a recurrent layer is initialized as a separate matrix; the biases of recurrent
    layers are not changed.
    """
    fill = _INITIALIZERS[init.weights]
    for layer in module.modules():
        if isinstance(layer, nn.RNNBase) and fill is not None:
            for name, weight in layer.named_parameters():
                if name.startswith("weight"):
                    units = layer.proj_size if name.startswith("weight_hr") else layer.hidden_size
                    for gate in torch.split(weight.detach(), units):
                        fill(gate, (gate.shape[1], gate.shape[0]), init.std)
        if not isinstance(layer, _LAYERS):
            continue
        if fill is not None:
            fill(layer.weight, fans(layer), init.std)
        if init.bias is not None and layer.bias is not None:
            nn.init.constant_(layer.bias, init.bias)


def initialized(layer: L, setting: ActivationSetting) -> L:
    """Return a layer with initial weights that suit the activation after it: the weights ``auto``.

    He's keep the variance of a signal from ReLU to ReLU, which sets half of it to 0; Glorot's where
    the activation cuts nothing off.
    """
    fill = _INITIALIZERS[_suitable(name_of(setting))]
    assert fill is not None
    num_in, num_out = fans(layer)
    fill(layer.weight, (num_in, num_out / pieces(setting)), 0.0)
    return layer


def fans(layer: Layer) -> Fans:
    """Return fan-in and fan-out of a layer, ignoring borders.

    Unlike torch's own count, this one accounts for groups (an output of a depthwise convolution has
    one input channel), for strides, and for the order of the weights in a transposed convolution.
    Where a stride makes the number differ from place to place, it is the mean.
    """
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    kernel, stride = math.prod(layer.kernel_size), math.prod(layer.stride)
    num_in, num_out = (kernel * channels / layer.groups for channels in (layer.in_channels, layer.out_channels))
    return (num_in / stride, num_out) if isinstance(layer, _TRANSPOSED) else (num_in, num_out / stride)


def _glorot(fans: Fans) -> float:
    return math.sqrt(2 / sum(fans))


def _he(fans: Fans) -> float:
    return math.sqrt(2 / fans[0])


def _uniform(weight: Tensor, std: float) -> None:
    r = math.sqrt(3) * std
    nn.init.uniform_(weight, -r, r)


_INITIALIZERS: dict[str, Callable[[Tensor, Fans, float], object] | None] = {
    "auto": None,
    "glorot_uniform": lambda weight, fans, _: _uniform(weight, _glorot(fans)),
    "glorot_normal": lambda weight, fans, _: nn.init.normal_(weight, std=_glorot(fans)),
    "he_uniform": lambda weight, fans, _: _uniform(weight, _he(fans)),
    "he_normal": lambda weight, fans, _: nn.init.normal_(weight, std=_he(fans)),
    "normal": lambda weight, _, std: nn.init.normal_(weight, std=std),
    "orthogonal": lambda weight, *_: nn.init.orthogonal_(weight),
    "zeros": lambda weight, *_: nn.init.zeros_(weight),
}
assert set(_INITIALIZERS) == set(get_args(WeightsName))

# The mean square of the greater of two standard normal numbers is 1: maxout cuts nothing off.
_GLOROT = ("none", "tanh", "sigmoid", "selu", "maxout")
_SATURATING = ("tanh", "sigmoid")
_RECTIFYING = ("relu", "leaky_relu", "very_leaky_relu", "rrelu", "prelu", "elu", "apl")


def _suitable(activation: str) -> WeightsName:
    return "glorot_uniform" if activation in _GLOROT else "he_normal"


def initialization_warning(init: Initialization, activation: str) -> str | None:
    """Return a warning if the initialization does not suit the activation, else None.

    With an unsuitable one the signal shrinks or grows from layer to layer.
    """
    if init.weights.startswith("he") and activation in _SATURATING:
        return f"model.init.weights: {init.weights} is made for ReLU; {activation} learns better from glorot_uniform"
    if init.weights.startswith("glorot") and activation in _RECTIFYING:
        return f"model.init.weights: {init.weights} is made for tanh; {activation} learns better from he_normal"
    return None
