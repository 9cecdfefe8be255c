"""The data source `reverse`."""

from pathlib import Path

import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.errors import DataError


def test_every_row_is_reversed_and_there_once(tmp_path: Path) -> None:
    path = sources.ensure("reverse", tmp_path)
    verify(path)
    data = open_data(path, DataConfig(source="reverse"))
    assert (data.spec.task, data.spec.num_outputs, data.spec.input_kind) == ("sequence_to_sequence", 26, "tokens")
    assert data.spec.sizes == {"train": 20_000, "val": 1_000, "test": 2_000}
    # Golden: another file would make published figures worthless.
    assert data.spec.checksum == "sha256:fdca771473fe80548f2ee25a8baec0f1f90ed32ff42091a0922dbec8b271b94c"
    seen: set[tuple[int, ...]] = set()
    lengths: list[int] = []
    for split, size in data.spec.sizes.items():
        with data.reader(split) as reader:
            x, y = reader.read(np.arange(size))
        assert np.array_equal(x.offsets, y.offsets)
        for first, last in zip(x.offsets, x.offsets[1:], strict=False):
            assert np.array_equal(x.values[first:last], y.values[first:last][::-1])
            seen.add(tuple(x.values[first:last].tolist()))
        lengths += x.lengths.tolist()
        assert set(x.values.tolist()) == set(range(26))
    assert len(seen) == 23_000
    assert set(lengths) == set(range(3, 13)) and min(np.bincount(lengths)[3:]) > 2000


def test_it_is_not_made_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"reverse: is generated, not made of a file .*Leave it out"):
        sources.load("reverse").make(tmp_path / "reverse.h5", tmp_path / "words.txt")
