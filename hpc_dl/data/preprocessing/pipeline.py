"""The preprocessing of an input: imputation, scaling, projection, and indicators of missing values.

It is fitted on the training split, applied to batches on the device, and kept in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.fields import concatenated_ranges
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.preprocessed_spec import can_hold_nan
from hpc_dl.data.preprocessing.imputation import Imputation, MissingValues, fit_imputation
from hpc_dl.data.preprocessing.projection import Projection, fit_projection
from hpc_dl.data.preprocessing.scaling import Scaling, fit_scaling
from hpc_dl.data.ragged import Ragged

_MAX_SAMPLES = 65_536
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of one input.

    Attributes:
        scaling: always present.
        imputation: None if nothing is filled in.
        projection: None if vectors are not projected.
        indicator: whether additional channels mark missing values.
    """

    scaling: Scaling
    imputation: Imputation | None = None
    projection: Projection | None = None
    indicator: bool = False

    def __call__(self, x: Any) -> Any:
        """Preprocess a batch.

        Args:
            x: (B, C, …) of any numeric type, or a ``Ragged`` of steps; not modified.

        Returns:
            float32 on the same device, in the shape of the preprocessed ``DataSpec``; token numbers
            become int64.
        """
        if isinstance(x, Ragged):
            return Ragged(self(x.values), x.offsets)
        if self.imputation is None:
            return self._scaled(x)
        scaled = self._scaled(self.imputation(x))
        return torch.cat([scaled, x.isnan().to(scaled.dtype)], self.imputation.axis) if self.indicator else scaled

    def _scaled(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.scaling(x)
        return scaled if self.projection is None else self.projection(scaled)

    def state_dict(self) -> dict[str, Any]:
        """Return plain values and tensors for a checkpoint."""
        return {
            "scaling": self.scaling.state_dict(),
            "imputation": None if self.imputation is None else asdict(self.imputation),
            "projection": None if self.projection is None else self.projection.state_dict(),
            "indicator": self.indicator,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Preprocessing:
        """Restore the preprocessing that :meth:`state_dict` returned."""
        fills, projection = state["imputation"], state["projection"]
        return cls(
            Scaling.from_state_dict(state["scaling"]),
            None if fills is None else Imputation(fills["method"], tuple(fills["fills"]), fills["axis"]),
            None if projection is None else Projection(**projection),
            state["indicator"],
        )


def fit_all(reader: SplitReader, config: DataConfig) -> tuple[tuple[Preprocessing, ...], list[str]]:
    """Fit the preprocessing of every input, and describe the missing values, one line per input.

    Args:
        reader: reads the training split.
        config: the ``data`` section.

    Raises:
        DataError: the inputs hold values to which no scaling can be fitted.
    """
    spec = reader.spec
    fitted = [fit_preprocessing(reader, number, config) for number in range(len(spec.inputs))]
    descriptions = [
        missing.description(field.name, config.imputation, config.missing_indicator, spec.class_names)
        for field, (_, missing) in zip(spec.inputs, fitted, strict=True)
        if missing is not None
    ]
    return tuple(preprocessing for preprocessing, _ in fitted), list(filter(None, descriptions))


def fit_preprocessing(
    reader: SplitReader, number: int, config: DataConfig
) -> tuple[Preprocessing, MissingValues | None]:
    """Fit the preprocessing of one input on the training split.

    At most about 65,536 samples or 1 GiB are read, spread evenly over the split. The result is the
    same in all processes.

    Args:
        reader: reads the training split.
        number: which of its inputs.
        config: the ``data`` section.

    Returns:
        The preprocessing, and the missing values if they were counted.

    Raises:
        DataError: the inputs hold values to which no scaling can be fitted.
    """
    field = reader.spec.inputs[number]
    imputation, missing = None, None
    if config.imputation != "none" and can_hold_nan(field):
        num_classes = reader.spec.num_outputs if reader.spec.task == "classification" else 0
        imputation, missing = fit_imputation(
            _labeled_values(reader, number), field.channel_axis, config.imputation, num_classes
        )

    def values() -> Iterator[NDArray[Any]]:
        for block in _values(reader, number):
            yield block if imputation is None else imputation(torch.from_numpy(block)).numpy()

    scaling = fit_scaling(reader.spec, number, config.scaling, values)
    projection = None
    if config.projection != "none":
        scaled = (scaling(torch.from_numpy(block)) for block in values())
        projection = fit_projection(scaled, config.projection, config.components, config.whitening_epsilon)
    indicator = imputation is not None and config.missing_indicator
    return Preprocessing(scaling, imputation, projection, indicator), missing


def _values(reader: SplitReader, number: int) -> Iterator[NDArray[Any]]:
    """Yield the values of an input to fit on, in pieces."""
    for values, _ in _labeled_values(reader, number):
        yield values


def _labeled_values(reader: SplitReader, number: int) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None]]:
    """Yield these values with the classes of their samples, or None if samples have no class."""
    has_classes = reader.spec.task == "classification"
    for piece in reader.pieces(_samples_to_fit(reader)):
        column = piece[number]
        if isinstance(column, Ragged):
            if len(column.values):
                yield column.values, None
        elif len(column):
            labels = piece[len(reader.spec.inputs)] if has_classes else None
            yield column, None if labels is None else np.asarray(labels).reshape(-1)


def _samples_to_fit(reader: SplitReader) -> NDArray[np.intp]:
    """Return all samples, or evenly spread blocks of them, first and last included."""
    limit = max(1, min(_MAX_SAMPLES, _MAX_BYTES // reader.bytes_per_sample))
    if len(reader) <= limit:
        return np.arange(len(reader))
    blocks = reader.blocks()
    chosen = np.linspace(0, len(blocks) - 1, max(1, limit * len(blocks) // len(reader))).astype(np.intp)
    return concatenated_ranges(blocks.bounds[chosen], blocks.bounds[chosen + 1])
