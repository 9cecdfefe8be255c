"""Upsampling along one, two or three axes, and the padding that it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from hpc_dl.errors import Fault
from hpc_dl.nn.convolution import convolution
from hpc_dl.nn.initialization import Layer

UpsamplingName = Literal["transposed", "interpolation"]

_TRANSPOSED: dict[int, type[nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


def upsampling(name: UpsamplingName, num_axes: int, num_in: int, num_out: int) -> nn.Module:
    """Build a layer that doubles each axis, (B, num_in, *sizes) to (B, num_out, *(2 · sizes)).

    ``transposed``: a transposed convolution with kernel and stride 2, so that its outputs do not
    overlap (Ronneberger et al., 2015); ``interpolation``: linear along each axis, after a
    convolution with kernel 1.
    """
    if name == "transposed":
        return _TRANSPOSED[num_axes](num_in, num_out, 2, stride=2)
    return nn.Sequential(
        # The convolution first: the other way around it would have to process more positions.
        convolution(num_axes, num_in, num_out),
        nn.Upsample(scale_factor=2, mode=_INTERPOLATIONS[num_axes], align_corners=False),
    )


def strided_upsampling(num_in: int, num_out: int, kernel_size: int, sizes: Sequence[int]) -> Layer:
    """Build a transposed convolution that reverses a stride of 2 (Zeiler et al., 2010).

    Args:
        num_in: input channels, (B, num_in, *halved(sizes)).
        num_out: output channels, (B, num_out, *sizes).
        kernel_size: kernel of the convolution that is reversed, odd; its padding was ``same``.
        sizes: sizes before that convolution, odd or even.
    """
    # 2 n − 1 and 2 n are both halved to n; the output padding restores the even length.
    even = tuple(1 - length % 2 for length in sizes)
    layer = _TRANSPOSED[len(sizes)]
    return layer(num_in, num_out, kernel_size, stride=2, padding=kernel_size // 2, output_padding=even)  # type: ignore[arg-type]


def halved(sizes: Sequence[int]) -> list[int]:
    """Return the sizes after a convolution with stride 2 and padding ``same``."""
    return [(length + 1) // 2 for length in sizes]


def linear_upsampling(num_axes: int, num_channels: int, factor: int) -> nn.Module:
    """Build a transposed convolution that starts as interpolation (Long et al., 2015).

    Args:
        num_axes: 1 for series, 2 for images, 3 for volumes.
        num_channels: C, (B, C, *sizes) to (B, C, *(factor · sizes)).
        factor: an even number.
    """
    layer = _TRANSPOSED[num_axes](num_channels, num_channels, 2 * factor, stride=factor, padding=factor // 2)
    triangle = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
    kernel = triangle
    for _ in range(num_axes - 1):
        kernel = kernel[..., None] * triangle
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[range(num_channels), range(num_channels)] = kernel
    return layer


def pad_to_multiple(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last values along each axis of (B, C, *sizes) up to a multiple of ``multiple``."""
    missing = [-length % multiple for length in x.shape[2:]]
    if not any(missing):
        return x
    # torch expects the amounts before and after each axis, from the last axis to the first.
    return functional.pad(x, [amount for after in missing[::-1] for amount in (0, after)], mode="replicate")


def crop(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """Crop (B, C, …) to (B, C, *sizes), which removes what :func:`pad_to_multiple` added."""
    for axis, length in enumerate(sizes, 2):
        x = x.narrow(axis, 0, length)
    return x


def dense_output_faults(
    sizes: tuple[int, ...], targets: Sequence[tuple[int, ...]], where: str, value: object, halvings: int
) -> list[Fault]:
    """Return the reasons why a network that halves its inputs cannot predict at each position.

    Args:
        sizes: sizes of the inputs along their axes.
        targets: shapes of the targets of a sample, if any.
        where: the key that sets the number of halvings.
        value: the value of that key.
        halvings: the number of halvings.
    """
    faults = [
        Fault("data.targets", "must have one class for each position", value=shape, allowed=str(sizes))
        for shape in targets
        if shape != sizes
    ]
    if min(sizes) >> halvings < 1:
        limit = min(sizes).bit_length() - 1
        faults.append(
            Fault(
                where,
                f"halves the inputs {halvings} times, but {'×'.join(map(str, sizes))} can be halved only {limit} times",
                value=value,
                allowed=f"at most {limit} halvings",
            )
        )
    return faults
