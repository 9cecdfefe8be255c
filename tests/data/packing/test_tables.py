"""Columns of text, missing values, and rows that belong together, in CSV and Parquet tables."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.data_file import open_data
from hpc_dl.data.files.sample_groups import read_groups
from hpc_dl.data.storage.checksum import content_checksum
from hpc_dl.errors import DataError

from .conftest import content, packed

SEX = ["female", "male", None]
SITE = ["Oslo", "Bergen", "Oslo", "Troms\u00f8"]
NUM = 240


def columns() -> dict[str, list[Any]]:
    """Ages with holes, two columns of words, one with holes, a subject of 4 rows, classes."""
    age = np.random.default_rng(0).integers(20, 80, NUM).astype(float)
    return {
        "subject": [f"s{row // 4:02d}" for row in range(NUM)],
        "age": [None if row % 10 == 3 else age[row] for row in range(NUM)],
        "sex": [SEX[row % 3] for row in range(NUM)],
        "site": [SITE[row // 4 % 4] for row in range(NUM)],
        "label": [["well", "ill"][row // 8 % 2] for row in range(NUM)],
    }


@pytest.fixture(params=["csv", "tsv", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"in.{request.param}"
    if request.param == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns()), path, row_group_size=77)
    else:
        mark = "\t" if request.param == "tsv" else ","
        rows = zip(*columns().values(), strict=True)
        cells = [[("n/a" if mark == "\t" else "") if cell is None else str(cell) for cell in row] for row in rows]
        path.write_text("\n".join(mark.join(row) for row in [list(columns()), *cells]))
    return path


def input_attributes(path: Path) -> dict[str, Any]:
    with h5py.File(path) as file:
        return dict(file["train/inputs"].attrs)


def test_text_becomes_categories(table: Path, tmp_path: Path) -> None:
    result = packed(table, tmp_path / "out.h5", omit="subject")
    values = content(tmp_path / "out.h5")["train/inputs"]
    names = input_attributes(tmp_path / "out.h5")["columns"].tolist()
    assert names == ["age", "sex=female", "sex=male", "sex=missing", "site=Bergen", "site=Oslo", "site=Troms\u00f8"]
    stored = columns()
    for column, name in ((1, "female"), (2, "male"), (3, None)):
        np.testing.assert_array_equal(values[:, column], [cell == name for cell in stored["sex"]])
    np.testing.assert_array_equal(values[:, 5], [cell == "Oslo" for cell in stored["site"]])
    np.testing.assert_array_equal(values[:, 0], np.array(stored["age"], np.float32))
    notes = " ".join(result["notes"])
    assert "sex: female, male, missing; site: Bergen, Oslo, Troms" in notes
    assert "missing values: age 24, sex 80" in notes and "`data.imputation`" in notes


def test_categories_can_be_numbers(table: Path, tmp_path: Path) -> None:
    packed(table, tmp_path / "out.h5", omit="subject,sex", categories="numbers")
    values = content(tmp_path / "out.h5")["train/inputs"]
    np.testing.assert_array_equal(values[:, 1], [["Bergen", "Oslo", "Troms\u00f8"].index(s) for s in columns()["site"]])
    stored = json.loads(input_attributes(tmp_path / "out.h5")["categories"])
    assert stored == {"site": ["Bergen", "Oslo", "Troms\u00f8"]}


@pytest.mark.parametrize("missing", ["mean", "median", "most_frequent"])
def test_missing_values_get_a_statistic_of_the_training_split(missing: Any, table: Path, tmp_path: Path) -> None:
    packed(
        table, tmp_path / "out.h5", inputs="age,sex", missing=missing, indicator=True, categories="numbers",
        splits="train=.5,val=.2,test=.3",
    )  # fmt: skip
    arrays = content(tmp_path / "out.h5")
    train = arrays["train/inputs"]
    known = train[train[:, 1] == 0, 0]
    counts = {value: int((known == value).sum()) for value in sorted(set(known.tolist()))}
    expected = {
        "mean": float(np.mean(known.astype(float))),
        "median": float(np.median(known)),
        "most_frequent": max(counts, key=lambda value: counts[value]),
    }[missing]
    assert input_attributes(tmp_path / "out.h5")["columns"].tolist() == [
        "age",
        "age is missing",
        "sex",
        "sex is missing",
    ]
    for split in ("train", "val", "test"):
        inputs = arrays[f"{split}/inputs"]
        np.testing.assert_array_equal(inputs[inputs[:, 1] == 1, 0], np.float32(expected))
        assert np.isfinite(inputs).all()
    assert sum((arrays[f"{split}/inputs"][:, 1] == 1).sum() for split in ("train", "val", "test")) == 24
    filled = json.loads(input_attributes(tmp_path / "out.h5")["filled"])
    assert filled["age"] == pytest.approx(expected) and filled["sex"] in ("female", "male")


def test_rows_with_missing_values_can_be_left_out(table: Path, tmp_path: Path) -> None:
    result = packed(table, tmp_path / "out.h5", omit="subject", missing="drop")
    stored = columns()
    kept = [row for row in range(NUM) if stored["age"][row] is not None and stored["sex"][row] is not None]
    arrays = content(tmp_path / "out.h5")
    np.testing.assert_array_equal(arrays["train/inputs"][:, 0], np.float32([stored["age"][row] for row in kept]))
    np.testing.assert_array_equal(arrays["train/targets"], [stored["label"][row] == "well" for row in kept])
    assert any(f"{NUM - len(kept)} of 240 rows with missing values are left out" in note for note in result["notes"])


def test_all_columns_with_missing_values_are_refused_in_one_line(table: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"has missing values: age 24, sex 80\. Use `--missing drop`.*`median`"
    ) as caught:
        packed(table, tmp_path / "out.h5", omit="subject", missing="refuse")
    assert len(caught.value.faults) == 1


def test_rows_of_a_group_stay_in_one_split(table: Path, tmp_path: Path) -> None:
    result = packed(table, tmp_path / "out.h5", group="subject", splits="train=.6,val=.2,test=.2")
    ages = {split: content(tmp_path / "out.h5")[f"{split}/inputs"] for split in ("train", "val", "test")}
    assert result["sizes"] == {"train": 144, "val": 48, "test": 48}
    stored = columns()
    seen: dict[str, set[str]] = {}
    for split, rows in ages.items():
        for age in rows[:, 0]:
            matches = {s for s, a in zip(stored["subject"], stored["age"], strict=True) if a == age}
            if len(matches) == 1:
                seen.setdefault(matches.pop(), set()).add(split)
    assert all(len(splits) == 1 for splits in seen.values()) and len(seen) > 3
    with h5py.File(tmp_path / "out.h5") as file:
        assert file.attrs["shared"] == "none"
    assert any("no group is in two splits (groups: train 36, val 12, test 12)" in note for note in result["notes"])


def test_an_identifier_is_no_category(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"column 'name': has 240 different texts in 240 rows.*`--omit name`"):
        path = tmp_path / "names.csv"
        path.write_text("name,y\n" + "".join(f"n{row},{row % 2}\n" for row in range(240)))
        packed(path, tmp_path / "out.h5")


def test_all_bad_columns_are_reported_at_once(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("a;b;c;y\n1;1,5;x;0\n2;2,5;y;1\nthree;3,0;x;1\n")
    with pytest.raises(DataError) as caught:
        packed(path, tmp_path / "out.h5")
    assert [fault.problem for fault in caught.value.faults] == ["is not a number", "has decimal commas"]
    assert "line 4, column 'a'" in str(caught.value) and "--categorical a" in str(caught.value)


def test_numbers_can_be_categories(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("site,a,y\n1,5,0\n17,6,1\n2A,7,1\n")
    packed(path, tmp_path / "out.h5", categorical="site")
    assert input_attributes(tmp_path / "out.h5")["columns"].tolist() == ["site=1", "site=17", "site=2A", "a"]
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"][:, :3], np.eye(3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a,y\n1,0\n2\0,1\n", "line 3: contains a null character"),
        ("a,y\n1,0\n".encode("utf-16"), "cannot be read: .*utf-8.*iconv -f utf-16"),
        ("a,y\nd\u00e9j\u00e0,0\n".encode("latin-1"), "cannot be read: .*iconv -f windows-1252"),
        (b"a,y\n1,0\n2,\n", "line 3, column 'y': is a missing target.*`--missing drop`"),
        (b'a,y\n"1,0\n2,1\n', "has 1 cells for 2 columns|is missing"),
    ],
)
def test_damaged_csv_is_refused_in_one_line(text: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(text)
    with pytest.raises(DataError, match=message) as caught:
        packed(tmp_path / "in.csv", tmp_path / "out.h5")
    assert len(str(caught.value).splitlines()) == 1


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_dl.data.packing.formats.csv_table._MAX_LINE", 1 << 20)
    (tmp_path / "in.csv").write_bytes(b"a,y\n" + b"1" * (1 << 20))
    with pytest.raises(DataError, match=r"line 2: is longer than 1 MiB"):
        packed(tmp_path / "in.csv", tmp_path / "out.h5")


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_row_numbers_are_no_input(name: str, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{name},a,label\n" + "".join(f"{row},{row % 7}.5,{row % 2}\n" for row in range(20)))
    result = packed(path, tmp_path / "out.h5")
    values = content(tmp_path / "out.h5")["train/inputs"]
    np.testing.assert_array_equal(values, [[row % 7 + 0.5] for row in range(20)])
    assert any("number the rows" in note for note in result["notes"])


@pytest.mark.filterwarnings("error")
def test_half_precision_columns_are_packed(tmp_path: Path) -> None:
    values = np.arange(20, dtype=np.float16)
    pyarrow.parquet.write_table(pyarrow.table({"a": values, "label": [0, 1] * 10}), tmp_path / "in.parquet")
    packed(tmp_path / "in.parquet", tmp_path / "out.h5")
    np.testing.assert_array_equal(content(tmp_path / "out.h5")["train/inputs"][:, 0], values)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_long_numbers_are_different_classes_and_categories(kind: str, tmp_path: Path) -> None:
    values = {"site": [1234567 + row % 3 for row in range(12)], "y": [10**17 + row % 3 for row in range(12)]}
    path = tmp_path / f"in.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(values), path)
    else:
        path.write_text("site,y\n" + "".join(f"{site},{y}\n" for site, y in zip(*values.values(), strict=True)))
    result = packed(path, tmp_path / "out.h5", categorical="site")
    assert result["class_names"] == [str(10**17 + number) for number in range(3)]
    assert input_attributes(tmp_path / "out.h5")["columns"].tolist() == [f"site={1234567 + n}" for n in range(3)]


@pytest.mark.parametrize(
    "text",
    [
        "a;b;y\n1;2;0\n3;4;1\n",
        "a|b|y\n1|2|0\n3|4|1\n",
        "sep=;\na;b;y\n1;2;0\n3;4;1\n",
        "\n\na,b,y\n1,2,0\n\n3,4,1\n",
        '"a\nof two lines",b,y\n1,2,0\n3,4,1\n',
        "\ufeffa,b,y\r1,2,0\r3,4,1\r",
    ],
)
def test_delimiters_and_headers_of_other_programs(text: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(text, newline="")
    packed(tmp_path / "in.csv", tmp_path / "out.h5")
    assert content(tmp_path / "out.h5")["train/inputs"].tolist() == [[1, 2], [3, 4]]
    assert content(tmp_path / "out.h5")["train/targets"].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0,5;1,5;0\n2,5;3,5;1\n", "column '1': has decimal commas"),
        ("a;y\n1;0,5\n2;1,5\n", "column 'y': has decimal commas"),
        ("a;y\n1.000.000;0\n2.000.000;1\n", "numbers in another notation.*--categorical a"),
        ("a,y\n5%,0\n10%,1\n", "numbers in another notation"),
        ("a,y\n1_000,0\n2_000,1\n", "numbers in another notation"),
        ("a,y\n\u0661,0\n\u0662,1\n", "numbers in another notation"),
        ("a,b b,a,y\n1,2,3,0\n", "two columns with the same name"),
        ("# a comment\na,y\n1,0\n", "has one column only"),
        ("a b y\n1 2 0\n", "has one column only"),
    ],
)
def test_numbers_and_columns_in_another_notation(text: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(text)
    with pytest.raises(DataError, match=problem):
        packed(tmp_path / "in.csv", tmp_path / "out.h5", targets="3" if text.startswith("0,5") else None)


@pytest.mark.slow
def test_a_wide_table_takes_time_in_proportion_to_its_width(tmp_path: Path) -> None:
    names = [f"gene{number}" for number in range(20_000)]
    lines = [",".join([*names, "y"]), *[",".join([str(row)] * 20_001) for row in range(2)]]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    assert packed(tmp_path / "in.csv", tmp_path / "out.h5")["input_shape"] == [20_000]


@pytest.mark.parametrize("layout", ["contiguous", "chunked"])
@pytest.mark.parametrize(("column", "dataset"), [("site", "site"), ("inputs", "group")])
def test_the_group_of_each_row_is_stored_for_metrics_by_group(
    column: str, dataset: str, layout: str, tmp_path: Path
) -> None:
    rows = [f"{row},{SITE[row // 2 % 4]},{row % 2}" for row in range(NUM)]
    (tmp_path / "in.csv").write_text("\n".join([f"x,{column},y", *rows]))
    for name in ("out", "again"):
        packed(
            tmp_path / "in.csv", tmp_path / f"{name}.h5", group=column, splits="train=.5,test=.5", layout_name=layout
        )
    config = DataConfig(file=str(tmp_path / "out.h5"), group=dataset)
    data = open_data(tmp_path / "out.h5", config)
    for split in ("train", "test"):
        numbers = content(tmp_path / "out.h5")[f"{split}/inputs"][:, 0].astype(int)
        assert read_groups(data.spec, data.splits[split], config).tolist() == [SITE[n // 2 % 4] for n in numbers]
    assert (
        open_data(tmp_path / "again.h5", DataConfig(file=str(tmp_path / "again.h5"))).spec.checksum
        == data.spec.checksum
    )
    with h5py.File(tmp_path / "out.h5") as file:
        assert content_checksum(file) == data.spec.checksum
