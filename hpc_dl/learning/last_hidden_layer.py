"""The last hidden layer of any network: what the layer of the outputs reads."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hpc_dl.errors import ConfigError


def last_hidden_layer(network: nn.Module, x: Any) -> Tensor:
    """Return the inputs of the layer with parameters that runs last, which computes the outputs.

    Args:
        network: in evaluation mode.
        x: a batch of its inputs.

    Raises:
        ConfigError: no layer with parameters reads an array.
    """
    read: list[Tensor] = []

    def remember(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor):
            read[:] = inputs[:1]

    layers = [layer for layer in network.modules() if next(layer.parameters(recurse=False), None) is not None]
    hooks = [layer.register_forward_pre_hook(remember) for layer in layers if layer is not network]
    try:
        with torch.inference_mode():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    if not read:
        raise ConfigError.at("model", f"{type(network).__name__} has no layer that computes the outputs")
    return read[0]
