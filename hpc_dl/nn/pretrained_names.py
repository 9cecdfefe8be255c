"""Weights that other programs wrote for an architecture, under names of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class KnowsOtherNames(Protocol):
    """A module that recognizes its weights under the names of another program."""

    def own_names(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights under this module's names, where they have names of the other program.

        Others keep their names.
        """


def renamed(weights: Mapping[str, Tensor], modules: Mapping[str, str]) -> dict[str, Tensor]:
    """Return weights with the names of their modules replaced.

    Args:
        weights: by name, ``layer1.0.conv1.weight``.
        modules: the new name of a module by its old one: ``layer1.0.conv1``.
    """

    def new(name: str) -> str:
        module, _, parameter = name.rpartition(".")
        return f"{modules[module]}.{parameter}" if module in modules else name

    return {new(name): value for name, value in weights.items()}
