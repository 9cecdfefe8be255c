"""Dense layers with normalization and activation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from hpc_dl.nn.activations import ActivationSetting, activation, pieces
from hpc_dl.nn.initialization import initialized

DenseNormName = Literal["none", "batch", "layer"]

_NORMS: dict[DenseNormName, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


def dense_block(
    num_in: int,
    num_out: int,
    setting: ActivationSetting,
    *,
    norm: DenseNormName = "none",
    bias: bool = True,
) -> list[nn.Module]:
    """Build a dense layer, its normalization if there is one, and its activation.

    Together they map (…, num_in) to (…, num_out).

    Args:
        num_in: inputs.
        num_out: units.
        setting: the activation.
        norm: ``batch``: each unit over the batch; ``layer``: the units of each sample.
        bias: whether to add a constant to each unit; normalization adds its own.
    """
    width = num_out * pieces(setting)
    layer = initialized(nn.Linear(num_in, width, bias=bias and norm == "none"), setting)
    between = [] if norm == "none" else [_NORMS[norm](width)]
    return [layer, *between, activation(setting, num_out, axis=-1)]
