"""Data sets of sequences of different lengths."""

import numpy as np
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data

from .conftest import Made

pytestmark = pytest.mark.slow


def test_japanese_vowels_have_the_authors_lengths_and_first_values(made: Made) -> None:
    file = made("japanese_vowels")
    data = open_data(file, DataConfig(file=str(file)))
    assert data.spec.inputs[0].ragged and not data.spec.targets[0].ragged
    lengths, classes, values = [], {}, {}
    for split, size in data.spec.sizes.items():
        with data.reader(split) as reader:
            inputs, targets = reader.read(np.arange(size))
        lengths += inputs.lengths.tolist()
        classes[split] = np.bincount(targets).tolist()
        values[split] = inputs.values
    assert (min(lengths), max(lengths)) == (7, 29)
    assert classes == {"train": [25] * 9, "val": [5] * 9, "test": [31, 35, 88, 44, 29, 24, 40, 50, 29]}
    # The start of the authors' first training utterance.
    is_first = np.isclose(np.concatenate([values["train"], values["val"]])[:, :3], [1.860936, -0.207383, 0.261557])
    assert is_first.all(1).sum() == 1


def test_reverse_has_distinct_inputs_and_reversed_targets(made: Made) -> None:
    data = open_data(made("reverse"), DataConfig(source="reverse"))
    seen: set[tuple[int, ...]] = set()
    lengths: list[int] = []
    for split, size in data.spec.sizes.items():
        with data.reader(split) as reader:
            x, y = reader.read(np.arange(size))
        assert np.array_equal(x.offsets, y.offsets)
        for start, stop in zip(x.offsets, x.offsets[1:], strict=False):
            assert np.array_equal(x.values[start:stop], y.values[start:stop][::-1])
            seen.add(tuple(x.values[start:stop].tolist()))
        lengths += x.lengths.tolist()
        assert set(x.values.tolist()) == set(range(26))
    assert len(seen) == 23_000
    assert set(lengths) == set(range(3, 13)) and min(np.bincount(lengths)[3:]) > 2000
