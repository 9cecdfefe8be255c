"""How weights begin: the ``model.init`` section."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from hpc_dl.schema import Section

WeightsName = Literal[
    "auto", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "normal", "orthogonal", "zeros"
]

_LAYERS = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)


class Initialization(Section):
    """How the weights of dense and convolutional layers begin."""

    weights: WeightsName = "auto"
    """``auto`` leaves it to the architecture. ``glorot_uniform``: U(−r, r) with r = √(6 / (inputs + outputs)), made for
    tanh and sigmoid (Glorot and Bengio, 2010); ``he_normal``: N(0, 2 / inputs), made for ReLU (He et al., 2015);
    ``normal``: N(0, std²); ``orthogonal`` (Saxe et al., 2014)."""
    std: Annotated[float, Field(gt=0)] = 0.01
    """Standard deviation of ``normal``."""
    bias: Annotated[float, Field()] | None = None
    """What every bias begins with (0, or 0.01 so that all ReLUs are awake); null leaves it to the architecture."""


def initialize(module: nn.Module, init: Initialization) -> None:
    """Set the weights of all dense and convolutional layers of a module anew, as ``init`` says."""
    fill = _FILLS[init.weights]
    for layer in module.modules():
        if not isinstance(layer, _LAYERS):
            continue
        if fill is not None:
            fill(layer.weight, init.std)
        if init.bias is not None and layer.bias is not None:
            nn.init.constant_(layer.bias, init.bias)


def _drawn(fill: Callable[[Tensor], Tensor]) -> Callable[[Tensor, float], Tensor]:
    return lambda weight, _: fill(weight)


_FILLS: dict[str, Callable[[Tensor, float], Tensor] | None] = {
    "auto": None,
    "glorot_uniform": _drawn(nn.init.xavier_uniform_),
    "glorot_normal": _drawn(nn.init.xavier_normal_),
    "he_uniform": lambda weight, _: nn.init.kaiming_uniform_(weight, nonlinearity="relu"),
    "he_normal": lambda weight, _: nn.init.kaiming_normal_(weight, nonlinearity="relu"),
    "normal": lambda weight, std: nn.init.normal_(weight, std=std),
    "orthogonal": _drawn(nn.init.orthogonal_),
    "zeros": _drawn(nn.init.zeros_),
}

_SATURATING = ("tanh", "sigmoid")


def poor_pairing(init: Initialization, activation: str) -> str | None:
    """What to say where the beginning does not suit an activation: the signal shrinks or grows from layer to layer."""
    if init.weights.startswith("he") and activation in _SATURATING:
        return f"model.init.weights: {init.weights} is made for ReLU; {activation} learns better from glorot_uniform"
    if init.weights.startswith("glorot") and "relu" in activation:
        return f"model.init.weights: {init.weights} is made for tanh; {activation} learns better from he_normal"
    return None


assert set(_FILLS) == set(WeightsName.__args__)  # type: ignore[attr-defined]
