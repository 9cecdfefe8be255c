"""Samples of different lengths, concatenated without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Ragged(NamedTuple):
    """Sequences, or nodes or edges of graphs, of different lengths.

    The reader returns NumPy arrays, a batch holds tensors. ``torch.split(batch.values,
    batch.lengths.tolist())`` returns the samples,
    ``torch.nested.nested_tensor_from_jagged(*batch)`` a nested tensor.

    Attributes:
        values: (sum of the lengths, …) all steps of all samples.
        offsets: (B + 1,) int64, the start of each sample in ``values``, and the end.
    """

    values: Any
    offsets: Any

    @property
    def lengths(self) -> Any:
        """(B,) number of steps of each sample."""
        return self.offsets[1:] - self.offsets[:-1]

    def part(self, samples: slice) -> Ragged:
        """Return consecutive samples, as views."""
        start, stop, _ = samples.indices(len(self.offsets) - 1)
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])

    @staticmethod
    def of(samples: Sequence[Any]) -> Ragged:
        """Concatenate arrays (steps, …), one per sample."""
        return Ragged(np.concatenate(samples), np.cumsum([0, *map(len, samples)]))

    @staticmethod
    def joined(parts: Sequence[Ragged]) -> Ragged:
        """Concatenate several batches of arrays."""
        offsets = [parts[0].offsets]
        for part in parts[1:]:
            offsets.append(part.offsets[1:] + offsets[-1][-1])
        return Ragged(np.concatenate([part.values for part in parts]), np.concatenate(offsets))
