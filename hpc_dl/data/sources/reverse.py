"""Words to be written backwards: 23,000 rows of random letters, and each with its letters in
reverse order.

Generated from a fixed seed. A network that maps sequences to sequences has to keep what it reads,
and to find it again in another order (Sutskever et al., 2014, and Bahdanau et al., 2015, on why the
order matters).
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
_SHORTEST, _LONGEST = 3, 12
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.files.format import write
    from hpc_dl.errors import DataError

    if given is not None:
        raise DataError.at(SOURCE.name, "is generated, not made of a file", value=str(given), remedy="leave it out")
    words = _words(sum(_SPLIT_SIZES.values()))
    splits = {}
    for split, size in _SPLIT_SIZES.items():
        part, words = words[:size], words[size:]
        splits[split] = {"inputs": _ragged(part), "targets": _ragged(word[::-1] for word in part)}
    write(
        path,
        splits,
        source=SOURCE.name,
        task=SOURCE.task,
        license=SOURCE.license,
        description=SOURCE.title,
        provenance=f"generated, NumPy's RandomState({_SEED}); no row is there twice",
        shared=SOURCE.shared,
        class_names=tuple(string.ascii_lowercase),
        input_units="number of the letter, from 0",
        target_units="number of the letter, from 0",
    )


def _words(number: int) -> list[tuple[int, ...]]:
    """Different rows of letters: all lengths alike, all letters alike."""
    import numpy as np

    random = np.random.RandomState(_SEED)  # its numbers stay the same in every version of NumPy
    found: dict[tuple[int, ...], None] = {}
    while len(found) < number:
        length = random.randint(_SHORTEST, _LONGEST + 1)
        found[tuple(random.randint(0, len(string.ascii_lowercase), length).tolist())] = None
    return list(found)


def _ragged(words: Iterable[tuple[int, ...]]) -> Ragged:
    import numpy as np

    from hpc_dl.data.ragged import Ragged

    rows = [np.array(word, np.uint8) for word in words]
    return Ragged(np.concatenate(rows), np.append(0, np.cumsum([len(row) for row in rows])))


SOURCE = Source(
    name="reverse",
    title="Rows of 3 to 12 random letters, to be written backwards",
    task="sequence_to_sequence",
    size="23,000 rows of 3 to 12 tokens, 26 classes",
    license="CC0-1.0",
    shared="none",
    fetched="generated",
    make=_make,
)
