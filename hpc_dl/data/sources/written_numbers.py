"""Written numbers: read three handwritten digits out in English words, an image to a sequence.

The digits are those of the source ``digits``, each split with its own. ``042`` is ``forty two``:
how many words there are depends on the digits, and a zero is not spoken.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from hpc_dl.data.files.format import Datasets

_SPLIT_SIZES = {"train": 12_000, "val": 1_000, "test": 2_000}
_DIGITS = 3
_SEED = 0


def _make(path: Path, given: Path | None) -> None:
    import numpy as np

    from hpc_dl.data.ragged import Ragged
    from hpc_dl.data.sources.digits import splits_of
    from hpc_dl.data.sources.numerals import english

    digits, origin = splits_of(given)
    words = list(dict.fromkeys(word for number in range(10**_DIGITS) for word in english(number)))
    token = {word: number for number, word in enumerate(words)}
    random = np.random.RandomState(_SEED)  # NumPy promises the same numbers in all its versions
    splits: dict[str, Datasets] = {}
    for split, size in _SPLIT_SIZES.items():
        images, labels = digits[split]
        drawn = random.randint(len(images), size=(size, _DIGITS))
        numbers = (labels[drawn].astype(int) @ 10 ** np.arange(_DIGITS)[::-1]).tolist()
        splits[split] = {
            "inputs": np.concatenate([images[drawn[:, place]] for place in range(_DIGITS)], axis=-1),
            "targets": Ragged.of([np.array([token[word] for word in english(n)], np.uint8) for n in numbers]),
        }
    SOURCE.write(
        path,
        splits,
        url="https://doi.org/10.24432/C50P49",
        provenance=f"{origin}; {_DIGITS} digits of the same split side by side, NumPy's RandomState({_SEED})",
        class_names=words,
        input_units="pixels set in a 4 × 4 block, 0 to 16",
        target_units="number of the word, from 0",
    )


SOURCE = Source(
    name="written_numbers",
    title="Three handwritten digits side by side, to be read out in English words",
    task="sequence_to_sequence",
    size="15,000 images of 1 × 8 × 24, sequences of 1 to 4 words, 29 classes",
    license="CC-BY-4.0 AND BSD-3-Clause",
    shared="writer",  # as in the source digits
    fetched="nothing: digits ships with hpc_dl",
    make=_make,
)
