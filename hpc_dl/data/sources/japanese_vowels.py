"""Japanese vowels: which of nine men says /ae/? Sequences of 7 to 29 frames of 12 coefficients.

M. Kudo, J. Toyama and M. Shimbo, Multidimensional curve classification using passing-through
regions, Pattern Recognition Letters 20(11–13), 1999; UCI Machine Learning Repository,
https://doi.org/10.24432/C5NS47 (CC BY 4.0 by UCI's donation policy). It ships with aeon, whose BSD
3-clause license is in its wheel. The coefficients are of the cepstrum. The authors' test set is
kept; 45 of their 270 training utterances become the validation split.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.data.sources import Source

if TYPE_CHECKING:
    from hpc_dl.data.files.format import Datasets

_SHA256 = {
    "JapaneseVowels_TRAIN.ts": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
    "JapaneseVowels_TEST.ts": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
}
_SPEAKERS = {f"{number}": f"speaker {number}" for number in range(1, 10)}
_SPLIT_SIZES = {"train": 225, "val": 45}


def _make(path: Path, given: Path | None) -> None:
    from hpc_dl.data.files.splits import stratified
    from hpc_dl.data.ragged import Ragged
    from hpc_dl.data.sources._splits import SPLIT_SEED
    from hpc_dl.data.sources._timeseries import fetch_series

    (train, test), origin = fetch_series(SOURCE, _SHA256, list(_SPEAKERS), given)
    splits: dict[str, Datasets] = {
        split: {"inputs": Ragged.of([train.samples[row].T for row in rows]), "targets": train.labels[rows]}
        for split, rows in stratified(train.labels, _SPLIT_SIZES, SPLIT_SEED).items()
    }
    splits["test"] = {"inputs": Ragged.of([utterance.T for utterance in test.samples]), "targets": test.labels}
    SOURCE.write(
        path,
        splits,
        url="https://doi.org/10.24432/C5NS47",
        provenance=f"{origin}; validation split of 45 training utterances, stratified, seed {SPLIT_SEED}",
        class_names=list(_SPEAKERS.values()),
        input_units="linear prediction cepstrum coefficients, frames of 25.6 ms every 6.4 ms",
    )


SOURCE = Source(
    name="japanese_vowels",
    title="Nine men who say /ae/: 12 cepstrum coefficients of 7 to 29 frames (Kudo et al., 1999)",
    task="classification",
    size="640 sequences of 7–29 × 12, 9 classes",
    license="CC-BY-4.0 AND BSD-3-Clause",
    shared="subject",  # the speakers are the classes, so all of them are in every split
    fetched="Python package aeon 1.6.0, 6 MB",
    make=_make,
)
