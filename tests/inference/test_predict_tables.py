"""``predict`` for tables, text, volumes and arrays: they are encoded as in the training."""

import csv
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from hpc_dl.data.packing.open_source import open_source
from hpc_dl.data.packing.pack import PackRequest, pack
from hpc_dl.data.packing.source import PackOptions, TrainedOn, Values
from hpc_dl.errors import ConfigError, DataError
from hpc_dl.inference.prediction import predict
from hpc_dl.inference.samples import HowToRead
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.training.train import train
from tests import experiments

COLORS = ("red", "green", "blue")


def written(path: Path, rows: list[list[Any]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def table_rows(num: int, seed: int) -> list[list[Any]]:
    """Age with gaps, color, weight, and the species that the color decides."""
    random = np.random.default_rng(seed)
    colors = random.integers(3, size=num)
    ages = ["" if gap else f"{age:.1f}" for gap, age in zip(random.random(num) < 0.2, random.normal(40, 9, num))]  # noqa: B905
    weights = random.normal(70, 5, num).round(2)
    return [[ages[n], COLORS[colors[n]], weights[n], ("cat", "dog", "fox")[colors[n]]] for n in range(num)]


HEADER = ["age", "color", "weight", "species"]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    table = written(folder / "people.csv", [HEADER, *table_rows(90, 0)])
    options = PackOptions(targets="species", missing="mean", indicator=True)
    pack(table, folder / "people.h5", PackRequest(options, fractions={"train": 0.8, "val": 0.2}), lambda *_: None)
    return folder / "people.h5"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, packed: Path) -> TrainedModel:
    run = experiments.prepared(tmp_path_factory.mktemp("run"), experiments.raw(packed))
    train(run)
    return TrainedModel.load(TrainedRun.open(run))


def probabilities(path: Path) -> np.ndarray:
    with h5py.File(path) as results:
        values: np.ndarray = results["all/probabilities"][()]
        return values


@pytest.mark.slow
def test_rows_are_encoded_as_in_the_training(trained: TrainedModel, packed: Path, tmp_path: Path) -> None:
    """Two of the three colors, other columns and order, another mean of ages: the same encoding."""
    rows = [row for row in table_rows(60, 1) if row[1] != "green"]
    table = written(tmp_path / "new.csv", [["color", "id", "weight", "age"], *[[r[1], 7, r[2], r[0]] for r in rows]])
    predict(trained, table, tmp_path / "out.h5")
    with h5py.File(packed) as file:
        attributes = file["train/inputs"].attrs
        assert list(attributes["columns"]) == [
            "age", "age is missing", "color=blue", "color=green", "color=red", "weight",
        ]  # fmt: skip
        filled = float(attributes["filled"].split(":")[1].strip(" }"))
    values = [[float(r[0] or filled), not r[0], r[1] == "blue", False, r[1] == "red", r[2]] for r in rows]
    with h5py.File(tmp_path / "encoded.h5", "w") as file:
        file["inputs"] = np.array(values, np.float32)
    predict(trained, tmp_path / "encoded.h5", tmp_path / "expected.h5")
    np.testing.assert_allclose(probabilities(tmp_path / "out.h5"), probabilities(tmp_path / "expected.h5"), rtol=1e-5)


@pytest.mark.slow
def test_known_targets_stand_beside_the_predictions(trained: TrainedModel, tmp_path: Path) -> None:
    rows = table_rows(25, 2)
    table = written(tmp_path / "new.csv", [HEADER, *rows])
    predict(trained, table, tmp_path / "out.csv", how=HowToRead(targets="species"))
    with (tmp_path / "out.csv").open(newline="") as file:
        written_rows = list(csv.DictReader(file))
    assert [row["target"] for row in written_rows] == [row[3] for row in rows]
    assert list(written_rows[0]) == [
        "sample",
        "target",
        "prediction",
        *[f"probability_{n}" for n in ("cat", "dog", "fox")],
    ]
    columns = {name: [row[number] or None for row in rows] for number, name in enumerate(HEADER)}
    columns["age"] = [None if age is None else float(age) for age in columns["age"]]
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "new.parquet")
    predict(trained, tmp_path / "new.parquet", tmp_path / "parquet.csv", how=HowToRead(targets="species"))
    assert (tmp_path / "parquet.csv").read_text() == (tmp_path / "out.csv").read_text()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [["age", "color", "weight"], [1, "pink", 2]],
            r"column 'color': has a category .*got 'pink'; allowed: blue, gr",
        ),
        ([["age", "color", "weight"], [1, "", 2]], "column 'color': has missing values, and had none in the training"),
        ([["age", "color", "weight"], ["old", "red", 2]], r"line 2, column 'age': is not a number.*got 'old'"),
        ([["age", "weight"], [1, 2]], "lacks a column of the training .*got 'color'"),
        ([HEADER, [1, "red", 2, "cow"]], r"has a label that is not a class name \(got 'cow'; allowed: cat, dog, fox"),
    ],
)
def test_rows_that_differ_from_the_training(
    trained: TrainedModel, tmp_path: Path, rows: list[list[Any]], message: str
) -> None:
    table = written(tmp_path / "new.csv", rows)
    how = HowToRead(targets="species" if "species" in rows[0] else None)
    with pytest.raises(DataError, match=message):
        predict(trained, table, tmp_path / "out.csv", how=how)
    assert [path.name for path in tmp_path.iterdir()] == ["new.csv"]


@pytest.mark.slow
def test_text_has_the_vocabulary_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "old.txt").write_text("the cat sat on the mat. " * 20)
    pack(tmp_path / "old.txt", tmp_path / "old.h5", PackRequest(fractions={"train": 0.8, "val": 0.2}), lambda *_: None)
    content = experiments.raw(tmp_path / "old.h5", model={"name": "gru", "hidden": 4})
    content["data"] |= {"windows": {"length": 8}, "targets": None}
    run = experiments.prepared(tmp_path, content)
    train(run)
    model = TrainedModel.load(TrainedRun.open(run))
    text = "a cat zat. " * 9
    (tmp_path / "new.txt").write_text(text)
    assert predict(model, tmp_path / "new.txt", tmp_path / "out.h5")["samples"] == {"all": len(text) // 8}
    number = {token: index for index, token in enumerate(model.data.class_names)}
    with h5py.File(tmp_path / "tokens.h5", "w") as file:
        file["new/inputs"] = np.array([number.get(token, 0) for token in text], np.uint8)
    predict(model, tmp_path / "tokens.h5", tmp_path / "expected.h5")
    with h5py.File(tmp_path / "out.h5") as results, h5py.File(tmp_path / "expected.h5") as expected:
        predictions = results["all/predictions"][()]
        assert predictions.shape == (len(text) // 8, 8) and len(np.unique(predictions)) > 1
        np.testing.assert_array_equal(predictions, expected["new/predictions"][: len(text) // 8])
    with pytest.raises(ConfigError, match="cannot be a table, since a sample has more than one value"):
        predict(model, tmp_path / "new.txt", tmp_path / "out.csv")


SOURCES = {
    "npy": ("scans.npy", ["0", "1"]),
    "npz": ("scans.npz", ["0", "1"]),
    "zarr": ("scans.zarr", ["0", "1"]),
    "nifti": ("", ["scan0.nii.gz", "scan1.nii.gz"]),
    "bids": ("", ["sub-0/anat/sub-0_T1w.nii.gz", "sub-1/anat/sub-1_T1w.nii.gz"]),
}


def save(kind: str, folder: Path, values: np.ndarray) -> None:
    """Save two volumes, without targets."""
    if kind == "npy":
        np.save(folder / "scans.npy", values)
    elif kind == "npz":
        np.savez(folder / "scans.npz", x=values, subject=np.arange(2))
    elif kind == "zarr":
        import zarr

        group = zarr.open_group(folder / "scans.zarr", mode="w")
        group.create_array("inputs", data=values)
        group.create_array("ages", data=np.arange(2.0))
    for number, volume in enumerate(values[:, 0]):
        if kind == "nifti":
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"scan{number}.nii.gz")
        elif kind == "bids":
            place = folder / f"sub-{number}" / "anat"
            place.mkdir(parents=True)
            nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), place / f"sub-{number}_T1w.nii.gz")
            (folder / "dataset_description.json").write_text("{}")
            (folder / "participants.tsv").write_text("participant_id\tage\nsub-0\t1\nsub-1\t2\n")


@pytest.mark.parametrize("kind", SOURCES)
def test_arrays_and_volumes_need_no_targets(tmp_path: Path, kind: str) -> None:
    values = np.random.default_rng(0).integers(0, 99, (2, 1, 3, 4, 5)).astype(np.int16)
    save(kind, tmp_path, values)
    name, names = SOURCES[kind]
    known = TrainedOn(Values((1, 3, 4, 5), values.dtype), "classification", ("a", "b"), {})
    source = open_source(tmp_path / name, PackOptions(trained_on=known, class_names=("a", "b")))
    (block,) = source.blocks(0)
    np.testing.assert_array_equal(block.inputs, values)
    assert source.targets is None and source.inputs.shape == (1, 3, 4, 5)
    assert source.names(0, 2) == names


def test_pages_of_a_stack_are_samples(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((4, 5), 9 * number, np.uint8)) for number in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    known = TrainedOn(Values((1, 4, 5), np.dtype(np.uint8)), "segmentation", ("a", "b"), {})
    source = open_source(tmp_path / "stack.tif", PackOptions(trained_on=known))
    (block,) = source.blocks(0)
    assert block.inputs.shape == (3, 1, 4, 5) and block.inputs[:, 0, 0, 0].tolist() == [0, 9, 18]
