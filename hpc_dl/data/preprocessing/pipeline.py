"""All that is done to the inputs of a batch on the device, fitted on the training split and kept in
the checkpoint: missing values are filled in, the values scaled, vectors projected, and what was
missing is told in channels of its own.
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
from hpc_dl.data.files.fields import stretches
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.preprocessed_spec import may_lack_values
from hpc_dl.data.preprocessing.imputation import Imputation, Missing, fit_imputation
from hpc_dl.data.preprocessing.projection import Projection, fit_projection
from hpc_dl.data.preprocessing.scaling import Scaling, fit_scaling
from hpc_dl.data.ragged import Ragged

_MAX_SAMPLES = 65_536
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Preprocessing:
    """What is done to one input.

    Attributes:
        scaling: always there.
        imputation: None where nothing is filled in.
        projection: None where vectors stay what they are.
        indicator: further channels tell what was missing.
    """

    scaling: Scaling
    imputation: Imputation | None = None
    projection: Projection | None = None
    indicator: bool = False

    def __call__(self, x: Any) -> Any:
        """Preprocess a batch.

        Args:
            x: (B, C, …) of any numeric type, or a ``Ragged`` of steps; left as it is.

        Returns:
            float32 on the same device, of the shape that the ``DataSpec`` tells; numbers of tokens
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
        """Plain values and tensors for a checkpoint."""
        return {
            "scaling": self.scaling.state_dict(),
            "imputation": None if self.imputation is None else asdict(self.imputation),
            "projection": None if self.projection is None else self.projection.state_dict(),
            "indicator": self.indicator,
        }

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> Preprocessing:
        """The one that :meth:`state_dict` described."""
        fills, projection = state["imputation"], state["projection"]
        return cls(
            Scaling.from_state_dict(state["scaling"]),
            None if fills is None else Imputation(fills["method"], tuple(fills["fills"]), fills["axis"]),
            None if projection is None else Projection(**projection),
            state["indicator"],
        )


def fit_preprocessing(reader: SplitReader, number: int, config: DataConfig) -> tuple[Preprocessing, Missing | None]:
    """Fit what is done to an input of the training split; the same data give the same figures in
    every process.

    About 65,536 samples or 1 GiB are read at most, spread evenly over the split.

    Args:
        reader: reads the training split.
        number: which of its inputs.
        config: says what is to be done.

    Returns:
        What to do, and what is missing, where that was looked at.

    Raises:
        DataError: the inputs hold values that no scaling can be fitted to.
    """
    field = reader.spec.inputs[number]
    imputation, missing = None, None
    if config.imputation != "none" and may_lack_values(field):
        labels = reader.spec.num_outputs if reader.spec.task == "classification" else 0
        imputation, missing = fit_imputation(_labeled(reader, number), field.channel_axis, config.imputation, labels)

    def values() -> Iterator[NDArray[Any]]:
        for block in _values(reader, number):
            yield block if imputation is None else imputation(torch.from_numpy(block)).numpy()

    scaling = fit_scaling(reader.spec, number, config.scaling, values)
    projection = None
    if config.projection != "none":
        scaled = (scaling(torch.from_numpy(block)) for block in values())
        projection = fit_projection(scaled, config.projection, config.components)
    indicator = imputation is not None and config.missing_indicator
    return Preprocessing(scaling, imputation, projection, indicator), missing


def _values(reader: SplitReader, number: int) -> Iterator[NDArray[Any]]:
    """The values of an input to fit on, in pieces."""
    for values, _ in _labeled(reader, number):
        yield values


def _labeled(reader: SplitReader, number: int) -> Iterator[tuple[NDArray[Any], NDArray[Any] | None]]:
    """The same, with the classes of the samples where each is one row with a class."""
    classified = reader.spec.task == "classification"
    for piece in reader.pieces(_chosen(reader)):
        column = piece[number]
        if isinstance(column, Ragged):
            if len(column.values):
                yield column.values, None
        elif len(column):
            labels = piece[len(reader.spec.inputs)] if classified else None
            yield column, None if labels is None else np.asarray(labels).reshape(-1)


def _chosen(reader: SplitReader) -> NDArray[np.intp]:
    """All samples, or blocks of what lies together in the file, evenly spread, the first and the
    last among them.
    """
    most = max(1, min(_MAX_SAMPLES, _MAX_BYTES // reader.bytes_per_sample))
    if len(reader) <= most:
        return np.arange(len(reader))
    blocks = reader.blocks()
    chosen = np.linspace(0, len(blocks) - 1, max(1, most * len(blocks) // len(reader))).astype(np.intp)
    return stretches(blocks.bounds[chosen], blocks.bounds[chosen + 1])
