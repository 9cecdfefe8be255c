"""Small finished runs, trained once for all figures."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.ragged import Ragged
from hpc_dl.figures.subject import Subject
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.train import train
from tests import experiments


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all of these in one worker, which trains the runs."""
    for item in items:
        if "subject" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("figures"))


def images(folder: Path) -> dict[str, Any]:
    model = {"name": "cnn", "channels": [4], "hidden": 6, "dropout": 0.0}
    return experiments.raw(experiments.classification_file(folder), model=model, trainer={"max_epochs": 2})


def patches(folder: Path) -> dict[str, Any]:
    model = {"name": "vit", "width": 8, "depth": 1, "heads": 2}
    return experiments.raw(experiments.classification_file(folder), model=model)


def plane(folder: Path) -> dict[str, Any]:
    """Two classes of points, distinguished by the sum of their two features."""
    splits = {}
    for seed, (split, size) in enumerate(experiments.SIZES.items()):
        x = np.random.default_rng(seed).normal(size=(size, 2)).astype(np.float32)
        splits[split] = Samples(x, (x.sum(1) > 0).astype(np.int64))
    write(
        folder / "plane.h5", splits, source="p", task="classification", license="CC0-1.0", class_names=["low $", "up $"]
    )
    return experiments.raw(folder / "plane.h5", trainer={"max_epochs": 4, "figures": True})


def values(folder: Path) -> dict[str, Any]:
    return experiments.raw(experiments.regression_file(folder))


def autoencoder(folder: Path) -> dict[str, Any]:
    data = {"targets": None, "task": "reconstruction"}
    model = {"name": "autoencoder", "widths": [8], "code": 3}
    return experiments.raw(experiments.classification_file(folder), data=data, model=model)


def generator(folder: Path) -> dict[str, Any]:
    data = {"targets": None, "task": "generation"}
    file = experiments.classification_file(folder, shape=(2,))
    model = {"name": "gan", "latent": 2, "width": 8, "depth": 1}
    return experiments.raw(file, data=data, model=model, trainer={"max_epochs": 3, "figures": True})


def masks(folder: Path) -> dict[str, Any]:
    """Images whose bright half is class 1."""
    splits = {}
    for seed, (split, size) in enumerate(experiments.SIZES.items()):
        noise = np.random.default_rng(seed).integers(0, 80, (size, 1, 8, 8))
        target = np.zeros((size, 8, 8), np.int64)
        target[:, :, 4:] = 1
        splits[split] = Samples((noise + 150 * target[:, None]).astype(np.uint8), target)
    write(
        folder / "masks.h5", splits, source="m", task="segmentation", license="CC0-1.0", class_names=["back", "front"]
    )
    return experiments.raw(folder / "masks.h5", model={"name": "unet", "depth": 1, "width": 4})


def words(folder: Path) -> dict[str, Any]:
    """Eight words, the first of which is the most frequent."""
    with h5py.File(folder / "words.h5", "w") as file:
        for seed, (split, size) in enumerate({"train": 600, "val": 120}.items()):
            tokens = np.minimum(np.random.default_rng(seed).geometric(0.3, size) - 1, 7)
            file[f"{split}/inputs"] = tokens.astype(np.int32)
            file[f"{split}/inputs"].attrs["class_names"] = list("abcdefgh")
    data = {"targets": None, "task": "embedding", "windows": {"length": 12, "stride": 12}}
    return experiments.raw(folder / "words.h5", data=data, model={"name": "word2vec", "dimension": 4})


def graphs(folder: Path) -> dict[str, Any]:
    """Rings of nodes, whose class is the sign of the mean of their features."""
    splits = {}
    for seed, (split, size) in enumerate({"train": 16, "val": 6}.items()):
        draw = np.random.default_rng(seed)
        nodes = [draw.normal(size=(count, 3)).astype(np.float32) for count in draw.integers(4, 8, size)]
        edges = [np.stack([np.arange(len(n)), (np.arange(len(n)) + 1) % len(n)], 1) for n in nodes]
        classes = np.array([int(n.mean() > 0) for n in nodes])
        splits[split] = {"nodes": Ragged.of(nodes), "edges": Ragged.of(edges), "targets": classes}
    write(
        folder / "graphs.h5", splits, source="g", task="classification", license="CC0-1.0", class_names=["-", "+"],
        inputs=("nodes", "edges"),
    )  # fmt: skip
    data = {"inputs": ["nodes", "edges"]}
    return experiments.raw(folder / "graphs.h5", data=data, model={"name": "fixed_point", "width": 4})


def text(folder: Path) -> dict[str, Any]:
    """A stream of four letters in turn."""
    with h5py.File(folder / "text.h5", "w") as file:
        for split, size in (("train", 400), ("val", 100)):
            file[f"{split}/inputs"] = np.arange(size, dtype=np.int32) % 4
            file[f"{split}/inputs"].attrs["class_names"] = ["a", "b", "c", "\n"]
    data = {"targets": None, "windows": {"length": 20, "stride": 20, "ahead": 1}}
    model = {"name": "transformer", "width": 8, "depth": 1, "heads": 2}
    trainer = {"max_epochs": 2, "figures": True}
    return experiments.raw(
        folder / "text.h5", data=data, model=model, trainer=trainer, optimizer={"name": "adam", "lr": 0.05}
    )


EXPERIMENTS = (images, patches, plane, values, autoencoder, generator, masks, words, graphs, text)


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Subject]:
    """Return the subject of an experiment by its name, trained when it is first asked for."""
    by_name = {experiment.__name__: experiment for experiment in EXPERIMENTS}

    @cache
    def trained(name: str) -> Subject:
        folder = tmp_path_factory.mktemp(name)
        run = experiments.prepared(folder, by_name[name](folder))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CPUS_PER_TASK", "1")
            train(run)
        return subject_of(run)

    return trained


def subject_of(run: RunFolder) -> Subject:
    """The run with its best weights."""
    torch.manual_seed(0)
    best = TrainedModel.load(TrainedRun.open(run))
    return Subject(run, best.data, best.model, best.batches)
