"""Activation functions by their YAML name. To add one, add its entry to ``ACTIVATIONS``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

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


#: Builds each activation.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "centered_softplus": CenteredSoftplus,
    "leaky_relu": lambda: nn.LeakyReLU(0.01),
    "very_leaky_relu": lambda: nn.LeakyReLU(1 / 3),
    "rrelu": lambda: nn.RReLU(0.1, 0.5),
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "maxout": Maxout,
    "apl": AdaptivePiecewiseLinear,
}

if TYPE_CHECKING:
    ActivationName = str
else:
    ActivationName = Literal[tuple(ACTIVATIONS)]


def activation(name: ActivationName) -> nn.Module:
    """Build the activation of that name; it maps x of any shape to the same shape.

    The slope below 0 is 0.01 for ``leaky_relu`` (Maas et al., 2013), 1/3 for ``very_leaky_relu``
    (Graham, 2014), and a learned number that starts at 0.25 for ``prelu`` (He et al., 2015). For
    ``rrelu`` (Xu et al., 2015) it is drawn from U(0.1, 0.5) for each number in training, and 0.3 in
    evaluation. ``elu``: Clevert et al. (2016); ``selu``: Klambauer et al. (2017); ``gelu``:
    Hendrycks and Gimpel (2016); ``silu``: x σ(x), Elfwing et al. (2018).
    """
    return ACTIVATIONS[name]()
