"""The receptive field: how much of the input can influence one position of a feature map."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}
_TRANSPOSED = {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"}
_POOLINGS = {f"{kind}_pool{axes}d" for kind in ("max", "avg") for axes in (1, 2, 3)}
_CONVOLUTION_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED_ARGUMENTS = ("input", "weight", "bias", "stride", "padding")
_POOLING_ARGUMENTS = ("input", "kernel_size", "stride", "padding", "dilation")


class Field(NamedTuple):
    """Which inputs have an influence on position p of a map: p · step + low to p · step + high.

    Attributes:
        low: along each axis; infinite if all inputs have an influence.
        high: likewise.
        step: distance, in input positions, between the fields of neighbors.
    """

    low: tuple[Fraction | float, ...]
    high: tuple[Fraction | float, ...]
    step: tuple[Fraction, ...]


def receptive_field(network: Callable[[Tensor], Any], x: Tensor) -> tuple[float, ...] | None:
    """Return the largest receptive field of all feature maps of a network.

    That of a layer with kernel k, dilation d and input positions at distance j exceeds that of its
    input by (k − 1) d j (Araujo, Norris and Sim, Computing receptive fields of convolutional neural
    networks, 2019). Attention and dense layers see everything. The field may be larger than the
    input. After upsampling it depends on the position; then it is an upper bound.

    Args:
        network: is called once, with ``x``.
        x: (B, C, *sizes), on the meta device for a network there.

    Returns:
        Input positions along each axis, infinite if a map depends on all of them; None for a
        network without convolution, pooling and attention.
    """
    start = Field(*((Fraction(number),) * (x.ndim - 2) for number in (0, 0, 1)))
    with torch.no_grad(), _Tracing(x, start) as tracing:
        network(x)
    if not tracing.maps:
        return None
    sizes = [[high - low for low, high in zip(field.low, field.high, strict=True)] for field in tracing.maps]
    return tuple(math.inf if math.isinf(size) else math.floor(size) + 1 for size in map(max, zip(*sizes, strict=True)))


class _Tracing(TorchFunctionMode):
    """Gives each result of a function of torch the field that follows from its arguments."""

    def __init__(self, x: Tensor, field: Field) -> None:
        super().__init__()
        self._fields = {id(x): (x, field)}  # the tensor is kept, so that its id stays its own
        self.maps: list[Field] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        known = [self._fields[id(x)][1] for x in _tensors([*args, *kwargs.values()]) if id(x) in self._fields]
        if known:
            low, high, step = zip(*known, strict=True)
            field = Field(_each(min, low), _each(max, high), _each(max, step))
            name = getattr(function, "__name__", "")
            after = _after(name, field, args, kwargs)
            if after is not field:
                self.maps.append(after)
            if name == "linear" and args[0].ndim == 2:
                after = _everything(field)
            self._fields |= {id(x): (x, after) for x in _tensors([result])}
        return result


def _after(name: str, field: Field, args: Sequence[Any], kwargs: dict[str, Any]) -> Field:
    """The field after a function; the same object where positions stay apart."""
    if name in _CONVOLUTIONS:
        given = dict(zip(_CONVOLUTION_ARGUMENTS, args, strict=False)) | kwargs
        dilations = _per_axis(given.get("dilation", 1), field)
        extents = [(size - 1) * d for size, d in zip(given["weight"].shape[2:], dilations, strict=True)]
        margins = given.get("padding", 0)
        if isinstance(margins, str):
            margins = [extent // 2 if margins == "same" else 0 for extent in extents]
        return _moved(field, extents, margins, given.get("stride", 1))
    if name in _POOLINGS:
        given = dict(zip(_POOLING_ARGUMENTS, args, strict=False)) | kwargs
        kernel = _per_axis(given["kernel_size"], field)
        # In this place averages have `ceil_mode`.
        dilations = _per_axis(given.get("dilation", 1) if name.startswith("max") else 1, field)
        extents = [(size - 1) * d for size, d in zip(kernel, dilations, strict=True)]
        return _moved(field, extents, given.get("padding", 0), given.get("stride") or kernel)
    if name in _TRANSPOSED:
        given = dict(zip(_TRANSPOSED_ARGUMENTS, args, strict=False)) | kwargs
        # Output o has the inputs (o + margin − kernel + 1) / stride to (o + margin) / stride.
        strides, margins = (_per_axis(given.get(key, usual), field) for key, usual in (("stride", 1), ("padding", 0)))
        extents = [Fraction(size - 1, s) for size, s in zip(given["weight"].shape[2:], strides, strict=True)]
        befores = [extent - Fraction(m, s) for extent, m, s in zip(extents, margins, strides, strict=True)]
        return _moved(field, extents, befores, [Fraction(1, s) for s in strides])
    if name == "interpolate":
        factors = [Fraction(factor) for factor in _per_axis(kwargs["scale_factor"], field)]
        if kwargs.get("mode") == "nearest":
            extents = [1 - 1 / factor for factor in factors]
            return _moved(field, extents, extents, [1 / factor for factor in factors])
        reach = [1 - 1 / (2 * factor) for factor in factors]  # to the two neighbors of (o + 1/2) / factor − 1/2
        befores = [r + (1 - 1 / factor) / 2 for r, factor in zip(reach, factors, strict=True)]
        return _moved(field, [2 * r for r in reach], befores, [1 / factor for factor in factors])
    return _everything(field) if name == "scaled_dot_product_attention" else field


def _moved(field: Field, extents: Iterable[Any], befores: Any, strides: Any) -> Field:
    """The field of a layer.

    Args:
        field: of its inputs.
        extents: distance from the first to the last of an output's inputs, along each axis.
        befores: how far the first of them lies before the output's own position.
        strides: distance between the inputs of neighbors.
    """
    low, high, steps = [], [], []
    axes = zip(*field, extents, _per_axis(befores, field), _per_axis(strides, field), strict=True)
    for first, last, step, extent, before, stride in axes:
        low.append(first - before * step)
        high.append(last + (extent - before) * step)
        steps.append(step * stride)
    return Field(tuple(low), tuple(high), tuple(steps))


def _everything(field: Field) -> Field:
    return field._replace(low=(-math.inf,) * len(field.step), high=(math.inf,) * len(field.step))


def _each(choose: Callable[..., Any], values: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    return tuple(map(choose, zip(*values, strict=True)))


def _per_axis(value: Any, field: Field) -> tuple[Any, ...]:
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    return values * len(field.step) if len(values) == 1 else values


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
