"""Samples of different lengths, one after another without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Ragged(NamedTuple):
    """Sequences, or the nodes or edges of graphs: arrays of NumPy in the reader, tensors in a
    batch.

    ``torch.split(batch.values, batch.lengths.tolist())`` gives the samples,
    ``torch.nested.nested_tensor_from_jagged(*batch)`` torch's own type of them.

    Attributes:
        values: (sum of the lengths, …) all steps of all samples.
        offsets: (B + 1,) int64, where in ``values`` each sample begins, and the end.
    """

    values: Any
    offsets: Any

    @property
    def lengths(self) -> Any:
        """(B,) steps of each sample."""
        return self.offsets[1:] - self.offsets[:-1]

    def part(self, samples: slice) -> Ragged:
        """Consecutive samples, as views of these."""
        start, stop, _ = samples.indices(len(self.offsets) - 1)
        offsets = self.offsets[start : stop + 1]
        return Ragged(self.values[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0])

    @staticmethod
    def of(samples: Sequence[Any]) -> Ragged:
        """Arrays (steps, …), one for each sample, one after another."""
        return Ragged(np.concatenate(samples), np.cumsum([0, *map(len, samples)]))

    @staticmethod
    def joined(parts: Sequence[Ragged]) -> Ragged:
        """Some one after another, of arrays."""
        offsets = [parts[0].offsets]
        for part in parts[1:]:
            offsets.append(part.offsets[1:] + offsets[-1][-1])
        return Ragged(np.concatenate([part.values for part in parts]), np.concatenate(offsets))
