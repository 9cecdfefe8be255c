"""Scaling of the inputs, fitted on the training split and applied to batches on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.data.config import ScalingMethod
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import EDGES, DataSpec
from hpc_dl.errors import DataError


@dataclass(frozen=True)
class Scaling:
    """The scaling ``(x - offset) / divisor``, per channel or for all channels alike.

    Attributes:
        method: how it was fitted.
        offset: one number per channel, or a single one for all.
        divisor: like ``offset``; never 0.
        axis: of the channels in a batch.
    """

    method: str
    offset: tuple[float, ...] = (0.0,)
    divisor: tuple[float, ...] = (1.0,)
    axis: int = 1

    def __call__(self, x: Any) -> Any:
        """Scale a batch.

        Args:
            x: (B, C, …) of any numeric type, or a ``Ragged`` of steps; not modified.

        Returns:
            float32 of the same shape, on the same device; token numbers become int64 instead.
        """
        if isinstance(x, Ragged):
            return Ragged(self(x.values), x.offsets)
        if self.method == "tokens":
            return x.to(torch.int64)
        if self.method == "none":
            return x.to(torch.float32)
        offset = per_channel(self.offset, self.axis, x.ndim, x.device)
        divisor = per_channel(self.divisor, self.axis, x.ndim, x.device)
        if x.dtype == torch.float32:
            return torch.sub(x, offset).div_(divisor)
        return x.to(torch.float32).sub_(offset).div_(divisor)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Scaling:
        """Restore the scaling that :meth:`state_dict` returned."""
        return cls(state["method"], tuple(state["offset"]), tuple(state["divisor"]), state["axis"])


@functools.lru_cache(maxsize=64)
def per_channel(values: Sequence[float], axis: int, num_axes: int, device: torch.device) -> Tensor:
    """Return numbers per channel, or one for all, in a shape that broadcasts to a batch.

    The tensor is kept on the device, since copying it for every batch would block.

    Args:
        values: one per channel, or a single one.
        axis: of the channels in a batch.
        num_axes: of the batch.
        device: of the batch.
    """
    shape = [1] * num_axes
    if len(values) > 1:
        shape[axis] = -1
    return torch.tensor(values, dtype=torch.float32, device=device).view(shape)


def fit_scaling(
    spec: DataSpec, number: int, method: ScalingMethod, values: Callable[[], Iterator[NDArray[Any]]]
) -> Scaling:
    """Fit the scaling of one input on the training split.

    Args:
        spec: of the data set.
        number: which of its inputs.
        method: ``unit``: the range of each channel, or of all pixels of images and volumes of
            integers; ``center``: the mean of each channel; ``standardize``: also its standard
            deviation; ``auto``: ``unit`` for integers, else ``standardize``, but integers in
            sequences are token numbers and stay unscaled; ``none``. The edges of a graph always
            stay unscaled.
        values: yields the values of the training split in pieces.

    Raises:
        DataError: the inputs hold NaN or infinite values.
    """
    field = spec.inputs[number]
    integral = np.dtype(field.dtype).kind in "biu"
    tokens = method == "auto" and (field.ragged or field.window)
    if integral and (tokens or field.name == EDGES):
        return Scaling("tokens")
    if method == "auto":
        method = "unit" if integral else "standardize"
    if method == "none":
        return Scaling("none")
    fit = _fit_unit if method == "unit" else _fit_standardize
    axis = field.channel_axis
    with np.errstate(invalid="ignore"):  # reported as an error below
        offset, divisor = fit(by_channel(piece, axis) for piece in values())
    if not np.isfinite([*offset, *divisor]).all():
        raise DataError.at(
            spec.file,
            "the training inputs contain NaN or infinite values, or are too large to square, so no scaling fits",
            remedy="fill in missing values (`data.imputation: mean`), correct the file, or exclude these samples "
            "(`data.splits.indices`); `hpc-dl data verify` counts them",
        )
    if method == "unit" and integral and field.has_pixels:
        offset, greatest = offset.min(keepdims=True), (offset + divisor).max(keepdims=True)
        divisor = greatest - offset
    # A constant channel becomes 0 rather than NaN.
    divisor = np.where(divisor > 0, divisor, 1.0) if method != "center" else np.ones_like(divisor)
    return Scaling(method, tuple(map(float, offset)), tuple(map(float, divisor)), axis)


def _fit_unit(blocks: Iterable[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return minimum and range of each channel."""
    least, greatest = np.inf, -np.inf
    for values in blocks:
        least = np.minimum(least, values.min(axis=(0, 2)))
        greatest = np.maximum(greatest, values.max(axis=(0, 2)))
    return np.asarray(least, np.float64), np.asarray(greatest, np.float64) - least


def _fit_standardize(blocks: Iterable[NDArray[Any]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each channel, in one pass.

    Sums are of deviations from the mean of the first block. Without this shift the difference of
    two large sums loses all digits if the mean is large compared to the deviation (Chan, Golub and
    LeVeque, 1983).
    """
    shift: NDArray[np.float64] | None = None
    count = 0
    total = squares = np.float64(0)
    for block in blocks:
        values = block.astype(np.float64)
        if shift is None:
            shift = values.mean(axis=(0, 2))
        with np.errstate(over="ignore", invalid="ignore"):  # the caller reports what is not finite
            values -= shift[:, None]
            count += values.shape[0] * values.shape[2]
            total = total + values.sum(axis=(0, 2))
            squares = squares + np.square(values).sum(axis=(0, 2))
    with np.errstate(over="ignore", invalid="ignore"):
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    assert shift is not None  # a split is never empty
    return shift + mean, deviation


def by_channel(values: NDArray[Any], axis: int) -> NDArray[Any]:
    """Reshape a batch to (B, C, values of a channel); C is 1 without a channel axis."""
    if values.ndim <= axis:
        return values.reshape(len(values), 1, -1)
    return np.moveaxis(values, axis, 1).reshape(len(values), values.shape[axis], -1)
