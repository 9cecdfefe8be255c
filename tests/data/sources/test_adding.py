"""The adding problem is computed, the same everywhere."""

from pathlib import Path

import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.inspection import verify
from hpc_dl.errors import DataError


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sources.ensure("adding", tmp_path_factory.mktemp("data"))


def test_what_it_is(path: Path) -> None:
    spec = open_data(path, DataConfig(file=str(path))).spec
    assert (spec.task, spec.input_kind, spec.input_shape, spec.num_outputs) == ("regression", "series", (2, 100), 1)
    assert spec.sizes == {"train": 20_000, "val": 1_000, "test": 2_000}
    # Golden: another file would be another problem, and published figures lose their meaning.
    assert spec.checksum == "sha256:c479b86e1deb6600b72f1a3c695da6987f083811c1e09f379541525c618df0f2"
    verify(path)


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_the_target_is_the_sum_of_the_two_marked_numbers(path: Path, split: str) -> None:
    with open_data(path, DataConfig(file=str(path))).reader(split) as reader:
        inputs, targets = reader.read(np.arange(len(reader)))
    numbers, marks = inputs[:, 0], inputs[:, 1]
    assert numbers.min() >= 0 and numbers.max() < 1
    assert set(np.unique(marks)) == {0, 1}
    for half in (slice(None, 50), slice(50, None)):
        assert (marks[:, half].sum(1) == 1).all()
        places = marks[:, half].sum(0)
        assert places.min() > 0 and places.max() < 2.5 * places.mean()
    np.testing.assert_allclose(targets[:, 0], (numbers * marks).sum(1), rtol=1e-6)
    # Chance: always to say 1.
    assert np.square(targets - 1).mean() == pytest.approx(1 / 6, rel=0.05)


def test_no_sample_is_in_two_splits(path: Path) -> None:
    data = open_data(path, DataConfig(file=str(path)))
    seen: set[bytes] = set()
    for split, size in data.spec.sizes.items():
        with data.reader(split) as reader:
            rows = {row.tobytes() for row in reader.read(np.arange(size))[0]}
        assert len(rows) == size and not rows & seen
        seen |= rows


def test_there_is_nothing_to_give(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not needed: the adding problem is computed\. Leave `--from` out"):
        sources.load("adding").make(tmp_path / "adding.h5", tmp_path)
    assert not list(tmp_path.iterdir())
