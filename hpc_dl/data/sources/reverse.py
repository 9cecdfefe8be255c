"""Sequence reversal: 23,000 sequences of random letters, each to be output in reverse order.

Generated from a fixed seed. A sequence-to-sequence network has to store what it reads, and to
retrieve it in another order (Sutskever et al., 2014, and Bahdanau et al., 2015, on why the order
matters).
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from hpc_dl.data.ragged import Ragged

_SPLIT_SIZES = {"train": 20_000, "val": 1_000, "test": 2_000}
_MIN_LENGTH, _MAX_LENGTH = 3, 12
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    SOURCE.refuse_file(given)
    remaining = _draw_distinct(sum(_SPLIT_SIZES.values()))
    splits = {}
    for split, size in _SPLIT_SIZES.items():
        sequences, remaining = remaining[:size], remaining[size:]
        splits[split] = {"inputs": _ragged(sequences), "targets": _ragged(sequence[::-1] for sequence in sequences)}
    SOURCE.write(
        path,
        splits,
        provenance=f"generated, NumPy's RandomState({_SEED}); no row occurs twice",
        class_names=tuple(string.ascii_lowercase),
        input_units="number of the letter, from 0",
        target_units="number of the letter, from 0",
    )


def _draw_distinct(number: int) -> list[tuple[int, ...]]:
    """Draw distinct sequences; all lengths and all letters are equally likely."""
    import numpy as np

    random = np.random.RandomState(_SEED)  # NumPy promises the same numbers in all its versions
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < number:
        length = random.randint(_MIN_LENGTH, _MAX_LENGTH + 1)
        drawn[tuple(random.randint(0, len(string.ascii_lowercase), length).tolist())] = None
    return list(drawn)


def _ragged(sequences: Iterable[tuple[int, ...]]) -> Ragged:
    import numpy as np

    from hpc_dl.data.ragged import Ragged

    return Ragged.of([np.array(sequence, np.uint8) for sequence in sequences])


SOURCE = Source(
    name="reverse",
    title="Rows of 3 to 12 random letters, to be written in reverse",
    task="sequence_to_sequence",
    size="23,000 sequences of 3 to 12 tokens, 26 classes",
    license="CC0-1.0",
    shared="none",
    fetched="nothing: generated",
    make=_make,
)
