"""Ratings of the quality of head images: whole sites to a split, and who is excluded."""

import csv
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.inspection import verify
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources import abide_quality
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip

# The table's sites: how many images, and how many of them one of the two raters excluded.
SITES = {
    "NYU": (184, 26), "UM": (145, 109), "USM": (101, 5), "UCLA": (99, 23), "LEUVEN": (64, 18), "PITT": (57, 10),
    "MAX_MUN": (57, 11), "YALE": (56, 36), "KKI": (54, 10), "TRINITY": (49, 8), "STANFORD": (40, 36),
    "CALTECH": (38, 2), "OLIN": (36, 15), "SDSU": (36, 22), "SBL": (30, 7), "OHSU": (28, 1), "CMU": (27, 4),
}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_or_skip("abide_quality", tmp_path_factory.mktemp("data"))


def test_what_it_is(path: Path) -> None:
    spec = open_spec(DataConfig(file=str(path)))
    assert (spec.task, spec.input_shape, spec.class_names) == ("classification", (62,), ("accept", "exclude"))
    assert spec.checksum == "sha256:df485b161ea2e24e3d9ca25742198f39e6c56e491af7139ac5fa458695cd1899"
    verify(path)


def test_each_site_is_in_one_split(path: Path) -> None:
    dealt = [site for sites in abide_quality._SITES.values() for site in sites]
    assert sorted(dealt) == sorted(SITES)
    with h5py.File(path) as file:
        for split, sites in abide_quality._SITES.items():
            images, excluded = np.sum([SITES[site] for site in sites], axis=0)
            assert np.bincount(file[split]["targets"]).tolist() == [images - excluded, excluded]
            assert excluded / images == pytest.approx(0.31, abs=0.01)
            assert np.isfinite(file[split]["inputs"]).all()


def test_the_first_image_of_pittsburgh_was_accepted(path: Path) -> None:
    with h5py.File(path) as file:
        found = np.isclose(file["train/inputs"][:, :3], [0.38374667, 3.25996837, 0.60966833]).all(axis=1)
        assert file["train/targets"][found].tolist() == [0]
        last = file["train/inputs"][found][0, -1]
    assert last == pytest.approx(0.54021254)


def test_an_altered_table_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "abide.tsv").open("w", newline="") as file:
        csv.writer(file, delimiter="\t").writerows([("subject_id", "site", "cjv"), (50002, "PITT", 0.38)])
    with pytest.raises(DataError, match=r"abide\.tsv: is not the file that was expected"):
        sources.load("abide_quality").make(tmp_path / "out" / "abide_quality.h5", tmp_path)
    assert not (tmp_path / "out").exists()
