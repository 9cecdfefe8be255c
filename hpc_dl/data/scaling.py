"""Scaling of the inputs, fitted on the training split and applied to whole batches on the device."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.data.reader import SplitReader
from hpc_dl.data.spec import DataSpec
from hpc_dl.errors import DataError

Method = Literal["auto", "none", "unit", "standardize"]

_MAX_SAMPLES = 65_536
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Scaling:
    """``(x - offset) / divisor``, per channel or for all alike.

    Attributes:
        method: how it was fitted.
        offset: one number for each channel, or a single one for all.
        divisor: likewise; never 0.
    """

    method: str
    offset: tuple[float, ...]
    divisor: tuple[float, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """Scale a batch.

        Args:
            x: (B, C, …) of any numeric type; left as it is.

        Returns:
            float32 of the same shape, on the same device.
        """
        if self.method == "none":
            return x.to(torch.float32)
        offset, divisor = _tensors(self, x.ndim, x.device)
        # The subtraction converts and copies at once; integers never pass through a float copy of their own.
        return torch.sub(x, offset).div_(divisor)

    def state_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Scaling:
        """The scaling that :meth:`state_dict` described."""
        return cls(state["method"], tuple(state["offset"]), tuple(state["divisor"]))


@functools.lru_cache(maxsize=16)
def _tensors(scaling: Scaling, num_axes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Offset and divisor along axis 1 of a batch; kept on the device, since a copy for each batch would wait for it."""
    shape = (-1, *[1] * (num_axes - 2))
    offset = torch.tensor(scaling.offset, dtype=torch.float32, device=device).view(shape)
    return offset, torch.tensor(scaling.divisor, dtype=torch.float32, device=device).view(shape)


def fit_scaling(reader: SplitReader, spec: DataSpec, method: Method) -> Scaling:
    """Fit a scaling to the training split; the same data give the same figures in every process.

    At most 65,536 samples or 1 GiB are read, spread evenly over the split.

    Args:
        reader: reads the training split.
        spec: the data set.
        method: ``unit``: integers by the least and greatest of all values, others by those of each channel;
            ``standardize``: mean and standard deviation of each channel; ``auto``: ``unit`` for integers, else
            ``standardize``; ``none``.

    Raises:
        DataError: the inputs hold NaN or infinite values.
    """
    integral = np.dtype(spec.input_dtype).kind in "biu"
    if method == "auto":
        method = "unit" if integral else "standardize"
    if method == "none":
        return Scaling("none", (0.0,), (1.0,))
    with np.errstate(invalid="ignore"):  # told as an error below
        offset, divisor = _fit_unit(reader, spec) if method == "unit" else _fit_standardize(reader, spec)
    if not np.isfinite([*offset, *divisor]).all():
        raise DataError.at(
            spec.file,
            "the training inputs hold NaN or infinite values, no scaling can be fitted",
            remedy="mend them or leave these samples out (`data.splits.indices`); `hpc-dl data verify` counts them",
        )
    if method == "unit" and integral:
        offset, top = offset.min(keepdims=True), (offset + divisor).max(keepdims=True)
        divisor = top - offset
    # A constant channel becomes 0 rather than NaN.
    divisor = np.where(divisor > 0, divisor, 1.0)
    return Scaling(method, tuple(map(float, offset)), tuple(map(float, divisor)))


def _fit_unit(reader: SplitReader, spec: DataSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimum and range of each channel."""
    least, greatest = np.inf, -np.inf
    for values in _by_channel(reader, spec):
        least = np.minimum(least, values.min(axis=(0, 2)))
        greatest = np.maximum(greatest, values.max(axis=(0, 2)))
    return np.asarray(least, np.float64), np.asarray(greatest, np.float64) - least


def _fit_standardize(reader: SplitReader, spec: DataSpec) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each channel, in one pass.

    Sums are taken about the first block's mean: without a shift the difference of two large sums loses all digits
    where the mean is large beside the deviation (Chan, Golub and LeVeque, 1983).
    """
    shift: NDArray[np.float64] | None = None
    count = 0
    total = squares = np.float64(0)
    for block in _by_channel(reader, spec):
        values = block.astype(np.float64)
        if shift is None:
            shift = values.mean(axis=(0, 2))
        values -= shift[:, None]
        count += values.shape[0] * values.shape[2]
        total = total + values.sum(axis=(0, 2))
        squares = squares + np.square(values).sum(axis=(0, 2))
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    assert shift is not None  # a split is never empty
    return shift + mean, deviation


def _by_channel(reader: SplitReader, spec: DataSpec) -> Iterator[NDArray[Any]]:
    """The training inputs to fit on, in blocks (B, C, values of a channel)."""
    num_bytes = np.dtype(spec.input_dtype).itemsize * int(np.prod(spec.input_shape))
    num_samples = min(len(reader), _MAX_SAMPLES, max(1, _MAX_BYTES // num_bytes))
    # Evenly spread, first and last included.
    samples = np.linspace(0, len(reader) - 1, num_samples).astype(np.intp)
    for block in reader.blocks(samples):
        yield block.reshape(len(block), spec.input_shape[0], -1)
