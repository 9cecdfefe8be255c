"""The series that come with aeon: made for real out of one package, and refused when they are
others."""

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources._timeseries import read_ts
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


class Facts(NamedTuple):
    """What is known of a data set from its files, and the checksum that the conversion and the
    split must keep."""

    shape: tuple[int, int]
    counts: dict[str, list[int]]  # of the classes
    classes: tuple[str, ...]
    row: tuple[float, ...]  # how the file's first training series begins
    checksum: str


FACTS = {
    "basic_motions": Facts(
        (6, 100),
        {"train": [8] * 4, "val": [2] * 4, "test": [10] * 4},
        ("standing", "running", "walking", "badminton"),
        (0.079106, 0.079106, -0.903497, 1.116125),
        "109f0273a4c7169517e6e91ad403b0b4d8b5c1ed7c51d0133c3ecef113cc79ca",
    ),
    "italy_power": Facts(
        (1, 24),
        {"train": [24, 23], "val": [10, 10], "test": [513, 516]},
        ("October to March", "April to September"),
        (-0.71051757, -1.1833204, -1.3724416),
        "707b473ae47c194bd0347ec3449cbc8dd64be870b8cb65252a227263529e5d51",
    ),
    "gun_point": Facts(
        (1, 150),
        {"train": [16, 18], "val": [8, 8], "test": [76, 74]},
        ("gun", "finger"),
        (-0.6478854, -0.64199155, -0.63818632),
        "f673f883537b7d66c0b3f1c6f4bd3f155d1f25679dd12df950862f181eb70180",
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each is made once."""
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("name", FACTS)
def test_the_facts(name: str, folder: Path) -> None:
    facts = FACTS[name]
    spec = open_spec(DataConfig(file=str(ensure_or_skip(name, folder))))
    assert (spec.task, spec.input_kind, spec.input_shape) == ("classification", "series", facts.shape)
    assert spec.class_names == facts.classes
    assert spec.checksum == f"sha256:{facts.checksum}"
    verify(spec.file)
    with h5py.File(spec.file) as file:
        assert {split: np.bincount(group["targets"]).tolist() for split, group in file.items()} == facts.counts
        series = np.concatenate([file["train/inputs"][()], file["val/inputs"][()]])
    assert np.isclose(series[:, 0, : len(facts.row)], facts.row).all(axis=1).sum() == 1


def test_winter_evenings_come_earlier(folder: Path) -> None:
    with h5py.File(ensure_or_skip("italy_power", folder)) as file:
        days, half = file["test/inputs"][:, 0], file["test/targets"][()]
    winter, summer = days[half == 0].mean(axis=0), days[half == 1].mean(axis=0)
    assert (16 + winter[16:].argmax(), 16 + summer[16:].argmax()) == (19, 21)


def test_a_line_is_a_sample_of_channels_and_a_class() -> None:
    series = read_ts("# text\n@data\n1,2,3:4,5,6:on\n7:8:off\n", ("off", "on"))
    assert [sample.tolist() for sample in series.samples] == [[[1, 2, 3], [4, 5, 6]], [[7], [8]]]
    assert series.labels.tolist() == [1, 0]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "GunPoint_TRAIN.ts").write_text("@data\n1,2:1\n")
    with pytest.raises(DataError, match=r"GunPoint_TRAIN\.ts: is not the file that was expected"):
        sources.load("gun_point").make(tmp_path / "out" / "gun_point.h5", tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"BasicMotions_TRAIN\.ts is not in there.*Give the \.whl file"):
        sources.load("basic_motions").make(tmp_path / "basic_motions.h5", tmp_path)
