"""Activation functions by their YAML name. To add one, add its entry to ``ACTIVATIONS``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import torch
from pydantic import Discriminator, Field, Tag, model_validator
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl.schema import Section


class CenteredSoftplus(nn.Module):
    """Softplus shifted to be 0 at 0: ln(eˣ + 1) − ln 2 (softplus: Dugas et al., 2001)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to the same shape."""
        return functional.softplus(x) - math.log(2)


class Maxout(nn.Module):
    """Maximum of k numbers for each unit (Goodfellow et al., 2013).

    The layer before computes them: it has k times as many outputs as there are units, so that a
    unit is the maximum of k affine functions of all inputs.
    """

    def __init__(self, units: int, axis: int, pieces: int) -> None:
        """Set the number of pieces.

        Args:
            units: number of units.
            axis: of the units.
            pieces: k, the numbers of a unit.
        """
        super().__init__()
        self.axis = axis
        self.shape = (units, pieces)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``units · pieces`` numbers along the axis to ``units``."""
        pieces = torch.unflatten(x, self.axis, self.shape)
        return pieces.amax(self.axis if self.axis < 0 else self.axis + 1)


class AdaptivePiecewiseLinear(nn.Module):
    """max(0, x) + Σ aᵢ max(0, bᵢ − x), where each unit learns its aᵢ and bᵢ.

    The adaptive piecewise linear unit of Agostinelli et al. (2014). It starts close to a leaky
    ReLU.
    """

    def __init__(self, units: int, axis: int, hinges: int) -> None:
        """Place the hinges bᵢ at 0, −1, …

        Args:
            units: number of units.
            axis: of the units.
            hinges: number of terms of the sum; one starts as a leaky ReLU of slope 0.01.
        """
        super().__init__()
        self.axis = axis
        self.slopes = nn.ParameterList(torch.full((units,), -0.01) for _ in range(hinges))
        self.hinges = nn.ParameterList(torch.full((units,), -float(number)) for number in range(hinges))

    def forward(self, x: Tensor) -> Tensor:
        """Map x, with the units along the axis, to the same shape."""
        shape = [1] * x.ndim
        shape[self.axis] = -1
        total = functional.relu(x)
        for slope, hinge in zip(self.slopes, self.hinges, strict=True):
            total = total + slope.view(shape) * functional.relu(hinge.view(shape) - x)
        return total


class Activation(NamedTuple):
    """An activation and what docs/reference/configuration.md says about it.

    Attributes:
        build: builds the module, from the number of units, their axis, and the parameters.
        formula: its value at x, and its source (author, year).
        parameters: their default values.
    """

    build: Callable[..., nn.Module]
    formula: str
    parameters: Mapping[str, Any] = MappingProxyType({})


def _plain(module: Callable[[], nn.Module]) -> Callable[..., nn.Module]:
    """What builds an activation without parameters that treats all units alike."""
    return lambda units, axis: module()


_BELOW = "x if x > 0, else"

ACTIVATIONS: dict[str, Activation] = {
    "none": Activation(_plain(nn.Identity), "x"),
    "sigmoid": Activation(_plain(nn.Sigmoid), "σ(x) = 1 / (1 + e⁻ˣ)"),
    "tanh": Activation(_plain(nn.Tanh), "(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)"),
    "relu": Activation(_plain(nn.ReLU), f"{_BELOW} 0 (Nair and Hinton, 2010)"),
    "centered_softplus": Activation(_plain(CenteredSoftplus), "ln(eˣ + 1) − ln 2 (softplus: Dugas et al., 2001)"),
    "leaky_relu": Activation(
        lambda units, axis, slope: nn.LeakyReLU(slope),
        f"{_BELOW} slope · x, with slope 0.01 (Maas et al., 2013)",
        {"slope": 0.01},
    ),
    "very_leaky_relu": Activation(
        lambda units, axis, slope: nn.LeakyReLU(slope),
        f"{_BELOW} slope · x, with slope 1/3 (Graham, 2014)",
        {"slope": 1 / 3},
    ),
    "rrelu": Activation(
        lambda units, axis, lower, upper: nn.RReLU(lower, upper),
        f"{_BELOW} a x, where a is drawn from U(lower, upper) for each number in training, and the mean of both in "
        "evaluation; lower 1/8, upper 1/3: Xu et al. (2015) divide x by 3 to 8",
        {"lower": 1 / 8, "upper": 1 / 3},
    ),
    "prelu": Activation(
        lambda units, axis, slope: nn.PReLU(init=slope),
        f"{_BELOW} a x, where a is learned, one for the layer, and starts at slope 0.25 (He et al., 2015)",
        {"slope": 0.25},
    ),
    "elu": Activation(
        lambda units, axis, alpha: nn.ELU(alpha),
        f"{_BELOW} alpha (eˣ − 1), with alpha 1 (Clevert et al., 2016)",
        {"alpha": 1.0},
    ),
    "selu": Activation(_plain(nn.SELU), "1.0507 x if x > 0, else 1.0507 · 1.6733 (eˣ − 1) (Klambauer et al., 2017)"),
    "gelu": Activation(
        _plain(nn.GELU), "x Φ(x), where Φ is the normal distribution function (Hendrycks and Gimpel, 2016)"
    ),
    "silu": Activation(_plain(nn.SiLU), "x σ(x) (Elfwing et al., 2018)"),
    "maxout": Activation(
        Maxout,
        "the largest of the k numbers that the layer computes for each unit, with k times its weights; pieces k 2 "
        "(Goodfellow et al., 2013)",
        {"pieces": 2},
    ),
    "apl": Activation(
        AdaptivePiecewiseLinear,
        "max(0, x) + a₁ max(0, b₁ − x) + a₂ max(0, b₂ − x), where each unit learns its aᵢ and bᵢ, which start as "
        "aᵢ = −0.01, b₁ = 0, b₂ = −1; hinges 2 (Agostinelli et al., 2014)",
        {"hinges": 2},
    ),
}

if TYPE_CHECKING:
    ActivationName = str
else:
    ActivationName = Literal[tuple(ACTIVATIONS)]


class ParametricActivation(Section):
    """An activation with its parameters: ``activation: {name: leaky_relu, slope: 0.2}``."""

    name: ActivationName
    """Name of the activation."""
    slope: Annotated[float, Field(ge=0, le=1)] | None = None
    """Slope of ``leaky_relu`` and ``very_leaky_relu`` for negative x; first slope of ``prelu``."""
    lower: Annotated[float, Field(ge=0, le=1)] | None = None
    """Least slope of ``rrelu``."""
    upper: Annotated[float, Field(ge=0, le=1)] | None = None
    """Greatest slope of ``rrelu``."""
    alpha: Annotated[float, Field(gt=0)] | None = None
    """Negative of the value that ``elu`` approaches for negative x."""
    pieces: Annotated[int, Field(ge=2)] | None = None
    """Affine functions of a unit of ``maxout``; the layer has that many times the weights."""
    hinges: Annotated[int, Field(ge=1)] | None = None
    """Terms of the sum of ``apl``."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        known = ACTIVATIONS[self.name].parameters
        unknown = [key for key, value in self if key != "name" and value is not None and key not in known]
        if unknown:
            has = f"has {', '.join(known)}" if known else "has no parameters"
            raise ValueError(f"{', '.join(unknown)}: not a parameter of {self.name}, which {has}")
        values = self.parameters
        if "lower" in values and values["lower"] > values["upper"]:
            raise ValueError(f"lower {values['lower']:g} is above upper {values['upper']:g}")
        return self

    @property
    def parameters(self) -> dict[str, Any]:
        """The values of all parameters that the activation has."""
        default = ACTIVATIONS[self.name].parameters
        given = {key: getattr(self, key) for key in default}
        return {key: default[key] if value is None else value for key, value in given.items()}


#: The ``activation`` key: a name, or a mapping of name and parameters.
ActivationSetting = Annotated[
    Annotated[ActivationName, Tag("its name")] | Annotated[ParametricActivation, Tag("with parameters")],
    Discriminator(lambda value: "with parameters" if isinstance(value, (dict, Section)) else "its name"),
]


def activation(setting: ActivationName | ParametricActivation, units: int, axis: int = 1) -> nn.Module:
    """Build an activation, from (…, units · pieces, …) to (…, units, …).

    Args:
        setting: the ``activation`` key.
        units: number of units.
        axis: of the units.
    """
    chosen = _parametric(setting)
    return ACTIVATIONS[chosen.name].build(units, axis, **chosen.parameters)


def pieces(setting: ActivationName | ParametricActivation) -> int:
    """Return how many numbers of the layer before become one unit: more than 1 for ``maxout``."""
    return int(_parametric(setting).parameters.get("pieces", 1))


def name_of(setting: ActivationName | ParametricActivation) -> str:
    """Return the name of an activation."""
    return _parametric(setting).name


def _parametric(setting: ActivationName | ParametricActivation) -> ParametricActivation:
    return setting if isinstance(setting, ParametricActivation) else ParametricActivation(name=setting)
