"""Data sets of vectors: known values, class shares, and what is particular to each table."""

import os
import subprocess
from lzma import decompress
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.sources import abide_quality
from hpc_dl.data.sources._fetch import fetch_deb
from hpc_dl.errors import DataError

from .conftest import FACTS, Made, read_splits
from .r_data import chars, data_frame_file, integers, symbol

pytestmark = pytest.mark.slow

# The start of a known sample.
KNOWN_ROWS = {
    "iris": (5.1, 3.5, 1.4, 0.2),
    "iris_setosa": (5.1, 3.5, 1.4, 0.2),
    "breast_cancer": (17.99, 10.38, 122.8),
    "wine": (14.23, 1.71, 2.43),
    "diabetes": (59, 2, 32.1, 101, 157),
    "yeast6": (0.58, 0.61, 0.47, 0.13),
    "penguins": (39.1, 18.7, 181, 3750, 1),
}
MISSING_VALUES = {"soybean": 2337, "penguins": 19}
TABLES = [name for name in FACTS if FACTS[name]["kind"] == "vector" and FACTS[name]["task"] != "generation"]
# Split by hpc_dl itself, not by the authors or by whole sites.
STRATIFIED = [
    "iris", "iris_setosa", "breast_cancer", "wine", "xor", "yeast6", "penguins"
]  # fmt: skip

# The sites of MRIQC's table: number of images, and how many of them at least one rater excluded.
SITES = {
    "NYU": (184, 26), "UM": (145, 109), "USM": (101, 5), "UCLA": (99, 23), "LEUVEN": (64, 18), "PITT": (57, 10),
    "MAX_MUN": (57, 11), "YALE": (56, 36), "KKI": (54, 10), "TRINITY": (49, 8), "STANFORD": (40, 36),
    "CALTECH": (38, 2), "OLIN": (36, 15), "SDSU": (36, 22), "SBL": (30, 7), "OHSU": (28, 1), "CMU": (27, 4),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN_ROWS)
def test_known_row_is_in_a_split(name: str, made: Made) -> None:
    known = KNOWN_ROWS[name]
    inputs = np.concatenate([x for x, _ in read_splits(made(name)).values()])
    assert np.isclose(inputs[:, : len(known)], known).all(axis=1).any()


@pytest.mark.parametrize("name", [*TABLES, "dna"])
def test_number_of_missing_values(name: str, made: Made) -> None:
    inputs = np.concatenate([x for x, _ in read_splits(made(name)).values()])
    assert np.isnan(inputs).sum() == MISSING_VALUES.get(name, 0)


@pytest.mark.parametrize("name", STRATIFIED)
def test_each_split_has_its_share_of_every_class(name: str, made: Made) -> None:
    splits = read_splits(made(name))
    labels = np.concatenate([y for _, y in splits.values()])
    for _, y in splits.values():
        shares = np.bincount(y) / len(y)
        assert np.abs(shares - np.bincount(labels) / len(labels)).max() < 1.5 / len(y) + 0.005


def test_diabetes_targets_have_the_published_mean(made: Made) -> None:
    y = np.concatenate([y for _, y in read_splits(made("diabetes")).values()])
    assert y.mean() == pytest.approx(152.13, abs=0.01)
    assert (y.min(), y.max()) == (25, 346)


def test_setosa_is_the_only_iris_with_petals_shorter_than_2_5_cm(made: Made) -> None:
    for x, y in read_splits(made("iris_setosa")).values():
        assert ((x[:, 2] < 2.5) == y).all()


def test_no_line_separates_xor(made: Made) -> None:
    for x, y in read_splits(made("xor")).values():
        assert ((np.round(x).sum(axis=1) == 1) == y).mean() == 1
        halves = [(x @ direction > bound) == y for direction in (*np.eye(2), [1, 1]) for bound in (0.5, 1.5)]
        assert max(max(half.mean(), 1 - half.mean()) for half in halves) <= 0.75


def test_shuttle_keeps_statlogs_test_set(made: Made) -> None:
    with h5py.File(made("shuttle")) as file:
        counts = {split: np.bincount(group["targets"]) for split, group in file.items()}
        is_first_row = (file["train/inputs"][()] == [50, 21, 77, 0, 28, 0, 27, 48, 22]).all(axis=1)  # of StatLog
        first_test_row = file["test/inputs"][0]
    assert counts["test"].tolist() == [4, 2, 809, 13, 39, 2155, 11478]
    assert (counts["train"] + counts["val"]).tolist() == [6, 11, 2458, 37, 132, 6748, 34108]
    assert counts["val"].tolist() == [1, 2, 492, 7, 26, 1350, 6822]
    assert is_first_row.sum() == 1
    assert first_test_row.tolist() == [55, 0, 81, 0, -6, 11, 25, 88, 64]


def test_abide_quality_keeps_each_site_in_one_split(made: Made) -> None:
    split_sites = [site for sites in abide_quality._SITES.values() for site in sites]
    assert sorted(split_sites) == sorted(SITES)
    with h5py.File(made("abide_quality")) as file:
        for split, sites in abide_quality._SITES.items():
            images, excluded = np.sum([SITES[site] for site in sites], axis=0)
            assert np.bincount(file[split]["targets"]).tolist() == [images - excluded, excluded]
            assert excluded / images == pytest.approx(0.31, abs=0.01)
            assert np.isfinite(file[split]["inputs"]).all()


def test_abide_quality_accepts_the_first_image_of_pittsburgh(made: Made) -> None:
    with h5py.File(made("abide_quality")) as file:
        is_known = np.isclose(file["train/inputs"][:, :3], [0.38374667, 3.25996837, 0.60966833]).all(axis=1)
        assert file["train/targets"][is_known].tolist() == [0]
        last_metric = file["train/inputs"][is_known][0, -1]
    assert last_metric == pytest.approx(0.54021254)


def test_other_values_of_shuttle_are_refused(tmp_path: Path) -> None:
    other = data_frame_file().replace(symbol("f"), symbol("Shuttle")).replace(chars("level"), chars("Class"))
    (tmp_path / "Shuttle.rda").write_bytes(other)
    with pytest.raises(DataError, match=r"Shuttle\.rda: does not contain the expected values"):
        sources.load("shuttle").make(tmp_path / "out" / "shuttle.h5", tmp_path)
    assert not (tmp_path / "out").exists()


def test_other_values_of_dna_are_refused(tmp_path: Path) -> None:
    try:
        package = fetch_deb("r-cran-mlbench", tmp_path)
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / "given")], check=True)
    (file,) = (tmp_path / "given").rglob("DNA.rda")
    content = decompress(file.read_bytes())
    header = integers(0x30D, 3186)  # of the first column: a factor of that length
    file.write_bytes(content.replace(header + integers(1), header + integers(2), 1))
    with pytest.raises(DataError, match=r"DNA\.rda: does not contain the expected values"):
        sources.load("dna").make(tmp_path / "dna.h5", tmp_path / "given")
    assert not (tmp_path / "dna.h5").exists()
