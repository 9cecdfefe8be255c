"""Activation functions by their YAML name."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

ActivationName = Literal[
    "none",
    "sigmoid",
    "tanh",
    "relu",
    "centered_softplus",
    "leaky_relu",
    "very_leaky_relu",
    "rrelu",
    "prelu",
    "elu",
    "selu",
    "gelu",
    "silu",
    "maxout",
    "apl",
]


class CenteredSoftplus(nn.Module):
    """ln(eˣ + 1) − ln 2: a smooth ReLU that is 0 at 0 (softplus: Dugas et al., 2001)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return functional.softplus(x) - math.log(2)


class Maxout(nn.Module):
    """max over i of (aᵢ x + bᵢ): a convex function of straight pieces that is learned.

    The maxout unit of Goodfellow et al. (2013) takes the maximum of k numbers, each of which a
    layer k times as wide has computed from all its inputs. Here the pieces are functions of the one
    number that a layer of the usual width gives, and all features share them: the shape stays, and
    2 k numbers are added to the network instead of k times its weights. It begins as a ReLU with
    its corner cut off.
    """

    def __init__(self, pieces: int = 3) -> None:
        """Give each piece a stretch of the inputs.

        Args:
            pieces: k, at least 2; two begin as a ReLU.
        """
        super().__init__()
        slopes = torch.linspace(0, 1, pieces)
        self.slopes = nn.Parameter(slopes)
        # Neighbors cross between −1 and 1, one after the other: each piece is the highest
        # somewhere.
        self.offsets = nn.Parameter(slopes * (1 - slopes))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        highest, *others = (
            slope * x + offset for slope, offset in zip(self.slopes.unbind(), self.offsets.unbind(), strict=True)
        )
        for piece in others:
            highest = torch.maximum(highest, piece)
        return highest


class AdaptivePiecewiseLinear(nn.Module):
    """max(0, x) + Σ aᵢ max(0, bᵢ − x), with aᵢ and bᵢ learned (Agostinelli et al., 2015).

    Agostinelli et al. give each unit its own; here all features share them, so that the shape needs
    not be known. It begins close to a leaky ReLU.
    """

    def __init__(self, hinges: int = 2) -> None:
        """Place the hinges at 0, −1, …

        Args:
            hinges: how many terms the sum has, at least 1; one begins as a leaky ReLU of 0.01.
        """
        super().__init__()
        self.slopes = nn.Parameter(torch.full((hinges,), -0.01))
        self.hinges = nn.Parameter(-torch.arange(hinges, dtype=torch.get_default_dtype()))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        total = functional.relu(x)
        for slope, hinge in zip(self.slopes.unbind(), self.hinges.unbind(), strict=True):
            total = total + slope * functional.relu(hinge - x)
        return total


_MAKERS: dict[str, Callable[[], nn.Module]] = {
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
assert tuple(_MAKERS) == get_args(ActivationName)


def activation(name: ActivationName) -> nn.Module:
    """A new module of the activation of that name; any shape in, the same shape out.

    The slope below 0 is 0.01 for ``leaky_relu`` (Maas et al., 2013), 1/3 for ``very_leaky_relu``
    (Graham, 2014), drawn anew from U(0.1, 0.5) for each number in training and 0.3 afterwards for
    ``rrelu`` (Xu et al., 2015), one learned number that begins with 0.25 for ``prelu`` (He et al.,
    2015). ``elu``: Clevert et al. (2016); ``selu``: Klambauer et al. (2017); ``gelu``: Hendrycks
    and Gimpel (2016); ``silu``: x σ(x), Elfwing et al. (2018).
    """
    return _MAKERS[name]()
