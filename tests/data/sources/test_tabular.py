"""The shipped and fetched tables: their shapes, classes and counts, values that are known, and that
nothing changes."""

import bz2
import gzip
import lzma
import os
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from hpc_dl.data import sources
from hpc_dl.data.config import DataConfig
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.sources._fetch import fetch_deb
from hpc_dl.data.sources._rdata import read_rdata
from hpc_dl.errors import DataError
from tests.data.sources.conftest import ensure_or_skip


class Facts(NamedTuple):
    """What is known of a data set, from the publication or from whom it was had."""

    sizes: tuple[int, int, int]
    shape: tuple[int, ...]
    counts: tuple[int, ...]  # of the classes over all splits
    nan: int
    row: tuple[float, ...]  # the beginning of a sample, which some split must hold


FACTS = {
    "iris": Facts((90, 30, 30), (4,), (50, 50, 50), 0, (5.1, 3.5, 1.4, 0.2)),
    "iris_setosa": Facts((90, 30, 30), (4,), (100, 50), 0, (5.1, 3.5, 1.4, 0.2)),
    "breast_cancer": Facts((341, 114, 114), (30,), (212, 357), 0, (17.99, 10.38, 122.8)),
    "wine": Facts((106, 36, 36), (13,), (59, 71, 48), 0, (14.23, 1.71, 2.43)),
    "diabetes": Facts((266, 88, 88), (10,), (), 0, (59, 2, 32.1, 101, 157)),
    "xor": Facts((600, 200, 200), (2,), (500, 500), 0, ()),
    "dna": Facts((1600, 400, 1186), (3, 60), (767, 765, 1654), 0, ()),
    "soybean": Facts((409, 137, 137), (35,), (), 2337, ()),
    "yeast6": Facts((890, 297, 297), (8,), (1449, 35), 0, (0.58, 0.61, 0.47, 0.13)),
    "penguins": Facts((206, 69, 69), (5,), (152, 68, 124), 19, (39.1, 18.7, 181, 3750, 1)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each is made once."""
    return tmp_path_factory.mktemp("data")


def arrays(file: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    with h5py.File(file) as opened:
        return {split: (group["inputs"][()], group["targets"][()]) for split, group in opened.items()}


@pytest.mark.parametrize("name", FACTS)
def test_the_facts(name: str, folder: Path) -> None:
    facts = FACTS[name]
    file = ensure_or_skip(name, folder)
    spec = open_spec(DataConfig(file=str(file)))
    assert (spec.name, spec.input_shape) == (name, facts.shape)
    assert tuple(spec.sizes[split] for split in ("train", "val", "test")) == facts.sizes
    splits = arrays(file)
    inputs = np.concatenate([x for x, _ in splits.values()])
    targets = np.concatenate([y for _, y in splits.values()])
    assert np.isnan(inputs).sum() == facts.nan
    if facts.counts:
        assert tuple(np.bincount(targets)) == facts.counts
        assert spec.num_outputs == len(facts.counts)
    if facts.row:
        rows = inputs.reshape(len(inputs), -1)[:, : len(facts.row)]
        assert np.isclose(rows, facts.row).all(axis=1).any()


@pytest.mark.parametrize("name", [name for name in FACTS if FACTS[name].counts and name != "dna"])
def test_each_split_has_its_share_of_every_class(name: str, folder: Path) -> None:
    for _, y in arrays(ensure_or_skip(name, folder)).values():
        shares = np.bincount(y) / len(y)
        whole = np.array(FACTS[name].counts) / sum(FACTS[name].counts)
        assert np.abs(shares - whole).max() < 1.5 / len(y) + 0.005


def test_diabetes_has_the_published_mean(folder: Path) -> None:
    y = np.concatenate([y for _, y in arrays(ensure_or_skip("diabetes", folder)).values()])
    assert y.mean() == pytest.approx(152.13, abs=0.01)
    assert (y.min(), y.max()) == (25, 346)


def test_setosa_is_the_only_iris_with_petals_shorter_than_2_5_cm(folder: Path) -> None:
    for x, y in arrays(ensure_or_skip("iris_setosa", folder)).values():
        assert ((x[:, 2] < 2.5) == y).all()


def test_no_line_divides_xor(folder: Path) -> None:
    for x, y in arrays(ensure_or_skip("xor", folder)).values():
        assert ((np.round(x).sum(axis=1) == 1) == y).mean() == 1
        halves = [(x @ direction > bound) == y for direction in (*np.eye(2), [1, 1]) for bound in (0.5, 1.5)]
        assert max(max(half.mean(), 1 - half.mean()) for half in halves) <= 0.75


def test_dna_keeps_statlogs_test_set(folder: Path) -> None:
    splits = arrays(ensure_or_skip("dna", folder))
    assert tuple(np.bincount(splits["test"][1])) == (303, 280, 603)
    for x, _ in splits.values():
        assert set(np.unique(x.sum(axis=1))) == {0, 1}  # A, C, G, or none of them for T
    x, y = splits["test"]
    donors, acceptors = x[y == 0].mean(axis=0), x[y == 1].mean(axis=0)
    assert donors[2, 30] > 0.95 and donors[:, 31].max() < 0.05  # exons end before GT
    assert acceptors[0, 28] > 0.95 and acceptors[2, 29] > 0.95  # introns end with AG


def test_soybean_has_19_diseases(folder: Path) -> None:
    spec = open_spec(DataConfig(file=str(ensure_or_skip("soybean", folder))))
    assert spec.num_outputs == 19 and spec.class_names[1] == "alternarialeaf-spot"


def integers(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big", signed=True) for number in numbers)


def chars(text: str) -> bytes:
    return integers(9, len(text)) + text.encode()


def symbol(text: str) -> bytes:
    return integers(1) + chars(text)


def strings(*texts: str) -> bytes:
    return integers(16, len(texts)) + b"".join(map(chars, texts))


def frame() -> bytes:
    """``save(f)`` of a data frame with a factor and a column of numbers, as R writes it."""
    factor = integers(13 | 1 << 9, 3, 2, 1, -(2**31))
    factor += integers(2 | 1 << 10) + symbol("levels") + strings("low", "high") + integers(254)
    numbers = integers(14, 3) + np.array([1.5, np.nan, -2], ">f8").tobytes()
    names = integers(2 | 1 << 10) + symbol("names") + strings("level", "size") + integers(254)
    table = integers(19 | 1 << 9, 2) + factor + numbers + names
    return b"RDX2\nX\n" + integers(2, 0, 0) + integers(2 | 1 << 10) + symbol("f") + table + integers(254)


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, bz2.compress, lzma.compress])
def test_a_data_frame_of_r_is_read(pack: Any, tmp_path: Path) -> None:
    (tmp_path / "f.rda").write_bytes(pack(frame()))
    columns = read_rdata(tmp_path / "f.rda")["f"]
    assert columns["level"].tolist() == ["high", "low", ""]
    np.testing.assert_array_equal(columns["size"], [1.5, np.nan, -2])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"RDX2\nA\n", "it does not begin as"),
        (frame()[:-20], "it ends too early"),
        (frame().replace(integers(14, 3), integers(3, 3)), "it holds an item of type 3, which is no part of a table"),
        (lzma.compress(frame())[:-10], "cannot be read"),
    ],
)
def test_what_is_no_table_is_refused(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "f.rda").write_bytes(content)
    with pytest.raises(DataError, match=told):
        read_rdata(tmp_path / "f.rda")


def test_other_values_in_the_place_of_dna_are_refused(tmp_path: Path) -> None:
    try:
        package = fetch_deb("r-cran-mlbench", tmp_path)
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    subprocess.run(["dpkg-deb", "-x", str(package), str(tmp_path / "given")], check=True)
    (file,) = (tmp_path / "given").rglob("DNA.rda")
    content = lzma.decompress(file.read_bytes())
    first = integers(0x30D, 3186)  # the column's header: a factor of that length
    file.write_bytes(content.replace(first + integers(1), first + integers(2), 1))
    with pytest.raises(DataError, match=r"DNA\.rda: does not hold the values that were expected"):
        sources.load("dna").make(tmp_path / "dna.h5", tmp_path / "given")
    assert not (tmp_path / "dna.h5").exists()
