"""``predict`` for folders of files as ``hpc-dl data pack`` reads them, and the tables it writes."""

import csv
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from hpc_dl.data.packing.open_source import open_source
from hpc_dl.data.packing.source import PackOptions, TrainedOn, Values
from hpc_dl.errors import ConfigError, DataError, HpcDlError
from hpc_dl.inference.prediction import predict
from hpc_dl.inference.samples import HowToRead
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.training.train import train
from tests import experiments


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 13 / 11 images of 1 × 8 × 8 bytes: dark, gray, light."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, file: Path) -> TrainedModel:
    """A model of these images."""
    run = experiments.prepared(tmp_path_factory.mktemp("run"), experiments.raw(file))
    train(run)
    return TrainedModel.load(TrainedRun.open(run))


@pytest.fixture
def folder(tmp_path: Path, file: Path) -> Path:
    """The test images as files in class folders."""
    with h5py.File(file) as data:
        images, labels = data["test/inputs"][()], data["test/targets"][()]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "photos" / ("dark", "gray", "light")[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(place / f"{number:02}.png")
    return tmp_path / "photos"


@pytest.mark.slow
def test_images_in_class_folders_have_names_targets_and_probabilities(
    trained: TrainedModel, file: Path, folder: Path, tmp_path: Path
) -> None:
    result = predict(trained, folder, tmp_path / "out.csv")
    assert result["samples"] == {"all": 11}
    predict(trained, file, tmp_path / "same.h5")
    rows = {int(row["sample"][-6:-4]): row for row in rows_of(tmp_path / "out.csv")}
    with h5py.File(tmp_path / "same.h5") as same, h5py.File(file) as data:
        for number, target in enumerate(data["test/targets"]):
            row, names = rows[number], ("dark", "gray", "light")
            assert (row["sample"], row["target"]) == (f"{names[target]}/{number:02}.png", names[target])
            assert row["prediction"] == names[same["test/predictions"][number]]
            probabilities = [float(row[f"probability_{name}"]) for name in names]
            np.testing.assert_allclose(probabilities, same["test/probabilities"][number], rtol=1e-4)


@pytest.mark.slow
def test_images_without_targets_as_arrays(trained: TrainedModel, folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, image in enumerate(sorted(folder.rglob("*.png"))):
        image.rename(flat / f"scan {number}.png")
    predict(trained, flat, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as results:
        assert sorted(results["all"]) == ["predictions", "probabilities", "samples"]
        assert results["all/samples"].asstr()[:3].tolist() == ["scan 0.png", "scan 1.png", "scan 10.png"]
        assert results["all/probabilities"].shape == (11, 3)
    table = tmp_path / "labels.csv"
    table.write_text("".join(f"scan {number}.png,{('dark', 'light')[number % 2]}\n" for number in range(11)))
    predict(trained, flat, tmp_path / "out.csv", how=HowToRead(targets=str(table)))
    assert [row["target"] for row in rows_of(tmp_path / "out.csv")][:3] == ["dark", "light", "dark"]
    table.write_text(table.read_text().replace("dark", "black"))
    with pytest.raises(DataError, match=r"not a class name \(got 'black'; allowed: dark, gray, light"):
        predict(trained, flat, tmp_path / "none.csv", how=HowToRead(targets=str(table)))
    assert not (tmp_path / "none.csv").exists()


def test_images_of_another_size_are_resized_on_request(trained: TrainedModel, folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.png"):
        with Image.open(path) as image:
            image.resize((16, 12)).save(path)
    with pytest.raises(ConfigError, match=r"got \(1, 12, 16\); allowed: \(1, 8, 8\)\)\. Resize images with --size 8x8"):
        predict(trained, folder, tmp_path / "out.csv")
    predict(trained, folder, tmp_path / "out.csv", how=HowToRead(size=(8, 8)))
    assert len(rows_of(tmp_path / "out.csv")) == 11


@pytest.mark.parametrize(
    ("mode", "problem"), [("I;16", "values of a different type"), ("RGB", "inputs of a different shape")]
)
def test_images_of_another_kind_are_refused(trained: TrainedModel, tmp_path: Path, mode: str, problem: str) -> None:
    (tmp_path / "images").mkdir()
    Image.new(mode, (8, 8)).save(tmp_path / "images" / "one.png")
    with pytest.raises(HpcDlError, match=problem):
        predict(trained, tmp_path / "images", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_table_of_an_hdf5_file_names_its_splits(trained: TrainedModel, file: Path, tmp_path: Path) -> None:
    predict(trained, file, tmp_path / "out.csv")
    rows = rows_of(tmp_path / "out.csv")
    assert [row["split"] for row in rows] == ["train"] * 48 + ["val"] * 13 + ["test"] * 11
    assert [row["sample"] for row in rows[47:50]] == ["47", "0", "1"]
    assert "target" not in rows[0]


@pytest.mark.slow
def test_values_have_a_column_each(tmp_path: Path) -> None:
    file = experiments.regression_file(tmp_path, num_outputs=2)
    run = experiments.prepared(tmp_path, experiments.raw(file))
    train(run)
    model = TrainedModel.load(TrainedRun.open(run))
    predict(model, file, tmp_path / "out.csv")
    predict(model, file, tmp_path / "out.h5")
    rows = rows_of(tmp_path / "out.csv")
    assert list(rows[0]) == ["split", "sample", "prediction_0", "prediction_1"]
    values: Any = [[float(row["prediction_0"]), float(row["prediction_1"])] for row in rows[:48]]
    with h5py.File(tmp_path / "out.h5") as results:
        np.testing.assert_allclose(values, results["train/predictions"][()], rtol=1e-5)


@pytest.mark.parametrize("trained_type", [np.float32, np.int16])
def test_recordings_have_the_rate_length_and_scale_of_the_training(tmp_path: Path, trained_type: Any) -> None:
    (tmp_path / "new").mkdir()
    tone = (20_000 * np.sin(np.arange(2000) / 50)).astype(np.int16)
    wavfile.write(tmp_path / "new" / "short.wav", 8000, tone[:900])
    wavfile.write(tmp_path / "new" / "long.wav", 8000, tone)
    known = TrainedOn(Values((1, 1000), np.dtype(trained_type)), "classification", ("a", "b"), {"rate": 8000.0})
    source = open_source(tmp_path / "new", PackOptions(rate=8000.0, length=1000, trained_on=known))
    (block,) = source.blocks(0)
    assert source.names(0, 2) == ["long.wav", "short.wav"] and source.targets is None
    assert block.inputs.shape == (2, 1, 1000) and block.inputs.dtype == trained_type
    assert block.inputs[0].max() == pytest.approx(20_000 / (32768 if trained_type is np.float32 else 1), rel=1e-2)
    if trained_type is np.int16:
        with pytest.raises(DataError, match=r"values of a different type than the training data \(got 'float32'"):
            open_source(tmp_path / "new", PackOptions(rate=4000.0, length=1000, trained_on=known))
