"""Data sets of series: the official test sets, known values, and reading ``.ts`` files."""

import h5py
import numpy as np
import pytest

from hpc_dl.data.sources._timeseries import parse_ts

from .conftest import Made, read_splits

pytestmark = pytest.mark.slow

# The start of the first training series in the archive's files.
FIRST_SERIES = {
    "basic_motions": (0.079106, 0.079106, -0.903497, 1.116125),
    "italy_power": (-0.71051757, -1.1833204, -1.3724416),
    "gun_point": (-0.6478854, -0.64199155, -0.63818632),
}


@pytest.mark.parametrize("name", FIRST_SERIES)
def test_first_series_is_used_once(name: str, made: Made) -> None:
    known = FIRST_SERIES[name]
    splits = read_splits(made(name))
    series = np.concatenate([splits["train"][0], splits["val"][0]])
    assert np.isclose(series[:, 0, : len(known)], known).all(axis=1).sum() == 1


def test_italian_winter_evenings_start_earlier(made: Made) -> None:
    with h5py.File(made("italy_power")) as file:
        days, half_year = file["test/inputs"][:, 0], file["test/targets"][()]
    winter, summer = days[half_year == 0].mean(axis=0), days[half_year == 1].mean(axis=0)
    assert (16 + winter[16:].argmax(), 16 + summer[16:].argmax()) == (19, 21)


def test_dna_keeps_statlogs_test_set(made: Made) -> None:
    splits = read_splits(made("dna"))
    assert tuple(np.bincount(splits["test"][1])) == (303, 280, 603)
    for x, _ in splits.values():
        assert set(np.unique(x.sum(axis=1))) == {0, 1}  # one of A, C and G, or none of them for T
    x, y = splits["test"]
    donors, acceptors = x[y == 0].mean(axis=0), x[y == 1].mean(axis=0)
    assert donors[2, 30] > 0.95 and donors[:, 31].max() < 0.05  # exons end before GT
    assert acceptors[0, 28] > 0.95 and acceptors[2, 29] > 0.95  # introns end with AG


def test_ts_line_has_channels_and_a_class() -> None:
    series = parse_ts("# text\n@data\n1,2,3:4,5,6:on\n7:8:off\n", ("off", "on"))
    assert [sample.tolist() for sample in series.samples] == [[[1, 2, 3], [4, 5, 6]], [[7], [8]]]
    assert series.labels.tolist() == [1, 0]
