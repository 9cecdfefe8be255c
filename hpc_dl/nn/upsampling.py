"""Upsampling along one, two or three axes, and the sizes that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from hpc_dl.errors import Fault
from hpc_dl.nn.convolution import convolution

UpsamplingName = Literal["transposed", "interpolation"]

_TRANSPOSED: dict[int, type[nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_INTERPOLATIONS = {1: "linear", 2: "bilinear", 3: "trilinear"}


def upsampling(name: UpsamplingName, num_axes: int, num_in: int, num_out: int) -> nn.Module:
    """Twice the length along each axis, (B, num_in, *sizes) to (B, num_out, *(2 · sizes)).

    ``transposed``: a transposed convolution with kernel and stride 2, whose outputs do not overlap
        (Ronneberger et al.,
    2015); ``interpolation``: linear along each axis, then a convolution of kernel 1 for the
    channels.
    """
    if name == "transposed":
        return _TRANSPOSED[num_axes](num_in, num_out, 2, stride=2)
    return nn.Sequential(
        # The cheaper layer first: it does not see that there are more positions.
        convolution(num_axes, num_in, num_out),
        nn.Upsample(scale_factor=2, mode=_INTERPOLATIONS[num_axes], align_corners=False),
    )


def strided_upsampling(num_in: int, num_out: int, kernel_size: int, sizes: Sequence[int]) -> nn.Module:
    """Transposed convolution to the sizes from before a convolution of stride 2 (Zeiler et al.,
    2010).

    Args:
        num_in: channels that come in, (B, num_in, *halved(sizes)).
        num_out: channels that go out, (B, num_out, *sizes).
        kernel_size: of the convolution, odd; its padding was ``same``.
        sizes: of the convolution's inputs, odd or even.
    """
    # Two lengths are halved to the same one; the padding of the outputs tells the even one from the
    # odd one.
    even = tuple(1 - length % 2 for length in sizes)
    kind = _TRANSPOSED[len(sizes)]
    return kind(num_in, num_out, kernel_size, stride=2, padding=kernel_size // 2, output_padding=even)  # type: ignore[arg-type]


def halved(sizes: Sequence[int]) -> list[int]:
    """What a convolution of stride 2 and padding ``same`` leaves of each length, odd or even."""
    return [(length + 1) // 2 for length in sizes]


def linear_upsampling(num_axes: int, num_channels: int, factor: int) -> nn.Module:
    """A transposed convolution to ``factor`` times the length that begins as linear interpolation
    (Long et al., 2015).

    Args:
        num_axes: 1 for series, 2 for images, 3 for volumes.
        num_channels: (B, num_channels, *sizes) to (B, num_channels, *(factor · sizes)).
        factor: even.
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


def padded(x: torch.Tensor, multiple: int) -> torch.Tensor:
    """Repeat the last values along each axis of (B, C, *sizes) until each length is a multiple of
    ``multiple``.
    """
    missing = [-length % multiple for length in x.shape[2:]]
    if not any(missing):
        return x
    # torch counts the axes from the last one, with what comes before and after.
    return functional.pad(x, [amount for after in missing[::-1] for amount in (0, after)], mode="replicate")


def cut(x: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The first positions along the axes of (B, C, …) as (B, C, *sizes): takes away what
    :func:`padded` has added.
    """
    for axis, length in enumerate(sizes, 2):
        x = x.narrow(axis, 0, length)
    return x


def dense_output_faults(
    sizes: tuple[int, ...], targets: Sequence[tuple[int, ...]], where: str, value: object, halvings: int
) -> list[Fault]:
    """What keeps a network that halves the axes from giving a value at each position of its inputs.

    Args:
        sizes: of the inputs along their axes.
        targets: shapes of what it learns for each sample, if anything.
        where: the key that says how often the axes are halved.
        value: of that key.
        halvings: how often.
    """
    faults = [
        Fault("data.targets", "must be one class for each position", value=shape, allowed=str(sizes))
        for shape in targets
        if shape != sizes
    ]
    if min(sizes) >> halvings < 1:
        most = min(sizes).bit_length() - 1
        faults.append(
            Fault(
                where,
                f"inputs of {'×'.join(map(str, sizes))} can be halved {most} times only, not {halvings} times",
                value=value,
                allowed=f"at most {most} halvings",
            )
        )
    return faults
