"""Dead and saturated units of a network, counted by forward hooks on its activations."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

_SATURATED = 0.99  # share of an activation's largest output


class UnitActivity:
    """Counts how often each unit of each ReLU, Tanh and Sigmoid module is active or saturated.

    Units are channels; each position of a channel counts separately.
    """

    def __init__(self, model: nn.Module, hooks: ExitStack) -> None:
        """Register the hooks.

        Args:
            model: the network.
            hooks: removes the hooks when it closes.
        """
        self._active: dict[str, Tensor] = {}
        self._saturated: dict[str, Tensor] = {}
        self._occasions: dict[str, int] = {}
        for name, module in model.named_modules():
            if isinstance(module, nn.ReLU):
                hook = self._counter(name, self._active, lambda out: out > 0)
            elif isinstance(module, nn.Tanh):
                hook = self._counter(name, self._saturated, lambda out: out.abs() > _SATURATED)
            elif isinstance(module, nn.Sigmoid):
                hook = self._counter(name, self._saturated, lambda out: (out - 0.5).abs() > _SATURATED / 2)
            else:
                continue
            hooks.callback(module.register_forward_hook(hook).remove)

    def _counter(
        self, name: str, counts: dict[str, Tensor], condition: Callable[[Tensor], Tensor]
    ) -> Callable[..., None]:
        """A hook that counts, for each unit, how often its output meets the condition."""

        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            per_unit = output.detach().reshape(len(output), -1, *output.shape[2:])
            met = condition(per_unit).movedim(1, -1).flatten(0, -2)
            counts[name] = counts.get(name, torch.zeros((), device=output.device)) + met.sum(0)
            self._occasions[name] = self._occasions.get(name, 0) + len(met)

        return hook

    def dead(self) -> dict[str, float]:
        """The share of units that were 0 for every sample, by activation; no entry without any."""
        shares = {name: float((count == 0).float().mean()) for name, count in self._active.items()}
        return {name: round(share, 3) for name, share in shares.items() if share > 0}

    def saturated(self) -> dict[str, float]:
        """The share of units that were saturated for most samples; no entry without any."""
        shares = {n: float((count > 0.5 * self._occasions[n]).float().mean()) for n, count in self._saturated.items()}
        return {name: round(share, 3) for name, share in shares.items() if share > 0}
