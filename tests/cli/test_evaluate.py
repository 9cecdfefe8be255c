"""``hpc-dl evaluate``, ``hpc-dl predict`` and ``hpc-dl export``."""

import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import State, write_state
from tests import experiments
from tests.cli.conftest import HpcDl

pytestmark = pytest.mark.slow


@pytest.fixture
def run(hpc_dl: HpcDl, config: Callable[..., Path], tmp_path: Path) -> Path:
    """A finished run in ``runs`` of the current folder."""
    answer = hpc_dl("train", config(trainer={"max_epochs": 2}), "--json")
    assert answer.status == 0, answer.err
    return Path(answer.json["dir"])


def test_evaluation_matches_the_result_of_the_training(hpc_dl: HpcDl, run: Path) -> None:
    answer = hpc_dl("evaluate", "latest", "--json")
    assert answer.status == 0, answer.err
    result = json.loads((run / "result.json").read_text())
    assert answer.json["metrics"] == pytest.approx(
        {name.removeprefix("test/"): v for name, v in result["metrics"].items() if name.startswith("test/")}, rel=1e-6
    )
    assert json.loads((run / "evaluation-test.json").read_text()) == answer.json
    confusion = np.array(answer.json["confusion"])
    assert confusion.sum() == answer.json["samples"] == 11
    assert confusion.trace() / 11 == pytest.approx(answer.json["metrics"]["accuracy"])
    assert confusion.sum(1).tolist() == [4, 4, 3]  # the samples of each class
    shown = hpc_dl("evaluate", "latest", "--split", "train")
    assert shown.status == 0 and "48 train samples" in shown.out and "light" in shown.out


def test_predictions_match_the_evaluation(hpc_dl: HpcDl, run: Path, image_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.h5"
    answer = hpc_dl("predict", run, image_file, "--out", out, "--json")
    assert answer.status == 0, answer.err
    assert answer.json["samples"] == {"train": 48, "val": 13, "test": 11}
    with h5py.File(out) as results, h5py.File(image_file) as file:
        assert results.attrs["run"] == run.name and list(results.attrs["class_names"]) == ["dark", "gray", "light"]
        predictions, probabilities = results["test/predictions"][()], results["test/probabilities"][()]
        accuracy = (predictions == file["test/targets"][()]).mean()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert (probabilities.argmax(1) == predictions).all()
    assert accuracy == pytest.approx(hpc_dl("evaluate", run, "--json").json["metrics"]["accuracy"])


def test_folder_of_images_becomes_a_table(hpc_dl: HpcDl, run: Path, tmp_path: Path) -> None:
    for number, image in enumerate(experiments.classes(4, 3).inputs):
        place = tmp_path / "photos" / ("dark" if number % 3 == 0 else "new")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).resize((10, 10)).save(place / f"{number}.png")
    answer = hpc_dl("predict", run, tmp_path / "photos", "--out", tmp_path / "out.csv", "--size", "8x8")
    assert answer.status == 0 and "for the samples of" in answer.out and ": 4 all" in answer.out, answer.err
    header, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "sample,prediction,probability_dark,probability_gray,probability_light"
    assert [row.partition(",")[0] for row in rows] == ["dark/0.png", "dark/3.png", "new/1.png", "new/2.png"]
    for arguments, message in (
        ((tmp_path / "photos",), "Resize images with --size 8x8"),
        ((tmp_path / "photos", "--size", "8"), "--size: is not a height and width (got '8'"),
        ((tmp_path / "cwd",), "contains no files of a supported format"),
    ):
        answer = hpc_dl("predict", run, *arguments, "--out", tmp_path / "none.csv")
        assert answer.status == 2 and message in answer.err and not (tmp_path / "none.csv").exists()


def test_prediction_for_inputs_without_targets(hpc_dl: HpcDl, run: Path, tmp_path: Path) -> None:
    images, out = experiments.classes(7, 3).inputs, tmp_path / "out.h5"
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file["images"] = images
        file["other"] = images[:, :, :4]
    answer = hpc_dl("predict", run, tmp_path / "new.h5", "--out", out, "--inputs", "images")
    assert answer.status == 0, answer.err
    with h5py.File(out) as results:
        assert results["all/predictions"].shape == (7,)
    before = out.read_bytes()
    answer = hpc_dl("predict", run, tmp_path / "new.h5", "--out", out, "--inputs", "images")
    assert answer.status == 2 and "out.h5: already exists" in answer.err
    source = (tmp_path / "new.h5").read_bytes()
    answer = hpc_dl("predict", run, tmp_path / "new.h5", "--out", tmp_path / "new.h5", "--inputs", "images", "--force")
    assert answer.status == 2 and "new.h5: is the input file" in answer.err
    assert (tmp_path / "new.h5").read_bytes() == source
    for options, message in (
        (
            ("--inputs", "other"),
            "has inputs of a different size than the training data, and the model takes no others: it has a weight for "
            "each value of a sample (got (1, 4, 8); allowed: (1, 8, 8))",
        ),
        ((), "new.h5:inputs: does not exist, neither at the top of the file nor in one of its groups"),
    ):
        answer = hpc_dl("predict", run, tmp_path / "new.h5", "--out", out, "--force", *options)
        assert answer.status == 2 and message in answer.err, answer.err
    assert out.read_bytes() == before and len(list(tmp_path.glob("*out*"))) == 1


def test_faults_of_evaluate(hpc_dl: HpcDl, run: Path) -> None:
    answer = hpc_dl("evaluate", "latest", "--split", "best")
    assert (
        answer.status == 2
        and "--split: is not a split of the data (got 'best'; allowed: train, val, test)" in answer.err
    )
    for checkpoint in (run / "checkpoints").glob("best*"):
        checkpoint.unlink()
    problems: list[tuple[State, str]] = [
        ("finished", "has no weights anymore"),
        ("failed", "has no weights: it ended before"),
        ("running", "has no weights yet"),
    ]
    for state, problem in problems:
        write_state(RunFolder(run), state)
        answer = hpc_dl("evaluate", run)
        assert answer.status == 2 and problem in answer.err


def test_exported_model_matches_predict(hpc_dl: HpcDl, run: Path, image_file: Path, tmp_path: Path) -> None:
    out, predictions = tmp_path / "model.onnx", tmp_path / "predictions.h5"
    answer = hpc_dl("export", run, "--out", out, "--json")
    assert answer.status == 0, answer.err
    assert answer.json["inputs"] == {"dtype": "uint8", "shape": [1, 8, 8]} and answer.json["compared"] == 8
    assert hpc_dl("predict", run, image_file, "--out", predictions).status == 0
    session = onnxruntime.InferenceSession(str(out))
    assert session.get_modelmeta().custom_metadata_map["classes"].split() == ["dark", "gray", "light"]
    with h5py.File(image_file) as file, h5py.File(predictions) as results:
        (probabilities,) = session.run(["probabilities"], {"inputs": file["val/inputs"][()]})
        np.testing.assert_allclose(probabilities, results["val/probabilities"][()], atol=1e-5)
    again = hpc_dl("export", run, "--out", out)
    assert (again.status, "already exists. Choose another name, or replace it with --force" in again.err) == (2, True)
    assert [path.name for path in tmp_path.glob("*.onnx*")] == ["model.onnx"]


def test_exported_model_has_the_channel_order_of_the_file(
    hpc_dl: HpcDl, config: Callable[..., Path], tmp_path: Path
) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (30, 6, 8, 3), np.uint8)
    with h5py.File(tmp_path / "last.h5", "w") as file:
        file["inputs"], file["targets"] = colors, np.arange(30) % 2
    data = {"file": str(tmp_path / "last.h5"), "channels": "last", "splits": {"fractions": {}}, "batch_size": 8}
    path = config(data=data, trainer={"max_epochs": 1})
    assert hpc_dl("train", path, "model.name=linear").status == 0
    out, predictions = tmp_path / "last.onnx", tmp_path / "p.h5"
    answer = hpc_dl("export", "latest", "--out", out, "--json")
    assert answer.status == 0, answer.err
    assert answer.json["inputs"]["shape"] == [6, 8, 3]
    assert hpc_dl("predict", "latest", tmp_path / "last.h5", "--out", predictions).status == 0
    (probabilities,) = onnxruntime.InferenceSession(str(out)).run(None, {"inputs": colors})
    with h5py.File(predictions) as file:
        np.testing.assert_allclose(probabilities, file["all/probabilities"][()], atol=1e-5)
