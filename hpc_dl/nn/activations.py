"""Activation functions by their YAML name. To add one, add its entry to ``ACTIVATIONS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional


class CenteredSoftplus(nn.Module):
    """Softplus shifted to be 0 at 0: ln(eˣ + 1) − ln 2 (softplus: Dugas et al., 2001)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to the same shape."""
        return functional.softplus(x) - math.log(2)


class Maxout(nn.Module):
    """Maximum of k learned lines, max over i of (aᵢ x + bᵢ): a convex, piecewise linear function.

    The maxout unit of Goodfellow et al. (2013) is the maximum of k numbers, and a layer k times as
    wide computes them from all its inputs. Here the lines are functions of one number, which a
    layer of the usual width computes, and all features share them: the shape stays the same, and
    the network gets 2 k more parameters instead of k times its weights. The initial lines
    approximate a ReLU.
    """

    def __init__(self, pieces: int = 3) -> None:
        """Initialize each line to be the maximum in one interval of x.

        Args:
            pieces: k, the number of lines, at least 2; two lines start as a ReLU.
        """
        super().__init__()
        slopes = torch.linspace(0, 1, pieces)
        self.slopes = nn.Parameter(slopes)
        # Neighboring lines cross between −1 and 1, in their order: each is the maximum somewhere.
        self.offsets = nn.Parameter(slopes * (1 - slopes))

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to the same shape."""
        maximum, *others = (
            slope * x + offset for slope, offset in zip(self.slopes.unbind(), self.offsets.unbind(), strict=True)
        )
        for line in others:
            maximum = torch.maximum(maximum, line)
        return maximum


class AdaptivePiecewiseLinear(nn.Module):
    """Adaptive piecewise linear unit: max(0, x) + Σ aᵢ max(0, bᵢ − x), with learned aᵢ and bᵢ.

    Agostinelli et al. (2015) learn aᵢ and bᵢ for each unit; here all features share them, so that
    the activation fits every shape. It starts close to a leaky ReLU.
    """

    def __init__(self, hinges: int = 2) -> None:
        """Place the hinges bᵢ at 0, −1, …

        Args:
            hinges: number of terms of the sum, at least 1; one starts as a leaky ReLU of slope
                0.01.
        """
        super().__init__()
        self.slopes = nn.Parameter(torch.full((hinges,), -0.01))
        self.hinges = nn.Parameter(-torch.arange(hinges, dtype=torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        """Map x of any shape to the same shape."""
        total = functional.relu(x)
        for slope, hinge in zip(self.slopes.unbind(), self.hinges.unbind(), strict=True):
            total = total + slope * functional.relu(hinge - x)
        return total


class Activation(NamedTuple):
    """An activation and what docs/reference/configuration.md says about it.

    Attributes:
        build: builds the module.
        formula: its value at x, and its source (author, year).
    """

    build: Callable[[], nn.Module]
    formula: str


_BELOW = "x if x > 0, else"

ACTIVATIONS: dict[str, Activation] = {
    "none": Activation(nn.Identity, "x"),
    "sigmoid": Activation(nn.Sigmoid, "σ(x) = 1 / (1 + e⁻ˣ)"),
    "tanh": Activation(nn.Tanh, "(eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)"),
    "relu": Activation(nn.ReLU, f"{_BELOW} 0 (Nair and Hinton, 2010)"),
    "centered_softplus": Activation(CenteredSoftplus, "ln(eˣ + 1) − ln 2 (softplus: Dugas et al., 2001)"),
    "leaky_relu": Activation(lambda: nn.LeakyReLU(0.01), f"{_BELOW} 0.01 x (Maas et al., 2013)"),
    "very_leaky_relu": Activation(lambda: nn.LeakyReLU(1 / 3), f"{_BELOW} x / 3 (Graham, 2014)"),
    "rrelu": Activation(
        lambda: nn.RReLU(0.1, 0.5),
        f"{_BELOW} a x, where a is drawn from U(0.1, 0.5) for each number in training, and 0.3 in evaluation "
        "(Xu et al., 2015)",
    ),
    "prelu": Activation(nn.PReLU, f"{_BELOW} a x, where a is learned and starts at 0.25 (He et al., 2015)"),
    "elu": Activation(nn.ELU, f"{_BELOW} eˣ − 1 (Clevert et al., 2016)"),
    "selu": Activation(nn.SELU, "1.0507 x if x > 0, else 1.0507 · 1.6733 (eˣ − 1) (Klambauer et al., 2017)"),
    "gelu": Activation(nn.GELU, "x Φ(x), where Φ is the normal distribution function (Hendrycks and Gimpel, 2016)"),
    "silu": Activation(nn.SiLU, "x σ(x) (Elfwing et al., 2018)"),
    "maxout": Activation(
        Maxout,
        "the largest of a₁ x + b₁, a₂ x + b₂ and a₃ x + b₃, where all aᵢ and bᵢ are learned and start as 0, "
        "x / 2 + 1 / 4 and x (after Goodfellow et al., 2013)",
    ),
    "apl": Activation(
        AdaptivePiecewiseLinear,
        "max(0, x) + a₁ max(0, b₁ − x) + a₂ max(0, b₂ − x), where all aᵢ and bᵢ are learned and start as "
        "aᵢ = −0.01, b₁ = 0, b₂ = −1 (Agostinelli et al., 2015)",
    ),
}

if TYPE_CHECKING:
    ActivationName = str
else:
    ActivationName = Literal[tuple(ACTIVATIONS)]


def activation(name: ActivationName) -> nn.Module:
    """Build the activation of that name; it maps x of any shape to the same shape."""
    return ACTIVATIONS[name].build()
