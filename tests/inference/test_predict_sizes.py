"""``predict`` for inputs of other sizes than in training."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from hpc_dl.errors import ConfigError
from hpc_dl.inference.prediction import predict
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.training.train import train
from tests import experiments


def trained_on_images(folder: Path, **model: Any) -> TrainedModel:
    file = experiments.classification_file(folder)
    section = {"name": "cnn", "channels": [4, 4], "hidden": 0, **model}
    run = experiments.prepared(folder, experiments.raw(file, model=section))
    train(run)
    return TrainedModel.load(TrainedRun.open(run))


def images(folder: Path, height: int, width: int) -> Path:
    folder.mkdir()
    values = np.random.default_rng(0).integers(0, 255, (3, height, width), np.uint8)
    for number, image in enumerate(values):
        Image.fromarray(image).save(folder / f"{number}.png")
    with h5py.File(folder.with_suffix(".h5"), "w") as file:
        file["inputs"] = values[:, None]
    return folder


@pytest.mark.slow
def test_global_average_takes_other_sizes(tmp_path: Path) -> None:
    trained = trained_on_images(tmp_path, head="global_average")
    folder = images(tmp_path / "large", 12, 20)
    predict(trained, folder, tmp_path / "folder.h5")
    predict(trained, folder.with_suffix(".h5"), tmp_path / "file.h5")
    with h5py.File(folder.with_suffix(".h5")) as file, torch.no_grad():
        scaled = trained.batches.preprocessed((torch.from_numpy(file["inputs"][()]),))[0]  # type: ignore[union-attr]
        expected = trained.network().cpu()(scaled).softmax(1).numpy()
    for name in ("folder.h5", "file.h5"):
        with h5py.File(tmp_path / name) as results:
            np.testing.assert_allclose(results["all/probabilities"][()], expected, rtol=1e-5)
    small = images(tmp_path / "small", 3, 20)
    with pytest.raises(
        ConfigError, match=r"for which the model fails: .*got \(1, 3, 20\); allowed: \(1, 8, 8\), or la"
    ):
        predict(trained, small, tmp_path / "small.csv")
    assert not (tmp_path / "small.csv").exists()


@pytest.mark.slow
def test_dense_head_takes_one_size(tmp_path: Path) -> None:
    trained = trained_on_images(tmp_path, head="dense")
    folder = images(tmp_path / "large", 12, 20)
    for path in (folder, folder.with_suffix(".h5")):
        with pytest.raises(
            ConfigError, match=r"takes no others: its dense head has a weight .*global_average.*\(1, 12, 20"
        ):
            predict(trained, path, tmp_path / "out.csv")
