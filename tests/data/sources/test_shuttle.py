"""StatLog's shuttle: its own test set, and every class in every split, be it ever so rare."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip
from tests.data.sources.test_tabular import chars, frame, symbol


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("shuttle", tmp_path_factory.mktemp("data"))


def test_what_it_is(path: Path) -> None:
    spec = open_spec(DataConfig(file=str(path)))
    assert (spec.task, spec.input_shape) == ("classification", (9,))
    assert spec.class_names == ("Bpv.Close", "Bpv.Open", "Bypass", "Fpv.Close", "Fpv.Open", "High", "Rad.Flow")
    assert spec.checksum == "sha256:68d6fb3e11bef0133ad121288d6d3040466cd481d5c04564606ff90ed8c65506"
    verify(path)


def test_statlogs_test_set_is_kept_and_no_split_lacks_a_class(path: Path) -> None:
    with h5py.File(path) as file:
        counts = {split: np.bincount(group["targets"]) for split, group in file.items()}
        known = (file["train/inputs"][()] == [50, 21, 77, 0, 28, 0, 27, 48, 22]).all(axis=1)  # StatLog's first row
        first = file["test/inputs"][0]
    assert counts["test"].tolist() == [4, 2, 809, 13, 39, 2155, 11478]
    assert (counts["train"] + counts["val"]).tolist() == [6, 11, 2458, 37, 132, 6748, 34108]
    assert counts["val"].tolist() == [1, 2, 492, 7, 26, 1350, 6822]
    assert known.sum() == 1
    assert first.tolist() == [55, 0, 81, 0, -6, 11, 25, 88, 64]


def test_other_values_are_refused(tmp_path: Path) -> None:
    other = frame().replace(symbol("f"), symbol("Shuttle")).replace(chars("level"), chars("Class"))
    (tmp_path / "Shuttle.rda").write_bytes(other)
    with pytest.raises(DataError, match=r"Shuttle\.rda: does not hold the values that were expected"):
        sources.load("shuttle").make(tmp_path / "out" / "shuttle.h5", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_the_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Shuttle\.rda is not in there"):
        sources.load("shuttle").make(tmp_path / "shuttle.h5", tmp_path)
