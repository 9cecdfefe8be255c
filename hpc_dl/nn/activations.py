"""Activation functions by their YAML name."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

ActivationName = Literal["none", "relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid"]

_CLASSES: dict[str, type[nn.Module]] = {
    "none": nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
assert set(_CLASSES) == set(get_args(ActivationName))


def activation(name: ActivationName) -> nn.Module:
    """A new module of the activation of that name; any shape in, the same shape out."""
    return _CLASSES[name]()
