"""Tiny experiments for the tests: HDF5 files, their YAML, prepared runs, specifications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.experiments import compress_inputs, configuration
from benchmarks.experiments import prepare_run as prepared
from hpc_dl.data.files.format import Samples, write
from hpc_dl.data.spec import DataSpec, FieldSpec
from hpc_dl.learning.losses import LossConfig
from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.recipe import TrainingRecipe
from hpc_dl.learning.schedules import SCHEDULES
from hpc_dl.learning.task import Task

__all__ = ["prepared"]  # next to what this module defines

SIZES = {"train": 48, "val": 13, "test": 11}
IMAGE = (1, 8, 8)


def classes(num_samples: int, seed: int, shape: tuple[int, ...] = IMAGE, num_classes: int = 3) -> Samples:
    """Noisy bytes whose brightness depends on the class."""
    generator = np.random.default_rng(seed)
    labels = np.arange(num_samples) % num_classes
    values = 40 + 60 * labels.reshape(-1, *[1] * len(shape)) + generator.normal(0, 25, (num_samples, *shape))
    return Samples(values.clip(0, 255).astype(np.uint8), labels.astype(np.int64))


def values(num_samples: int, seed: int, num_features: int = 5, num_outputs: int = 1) -> Samples:
    """A linear function of some features, with noise."""
    x = np.random.default_rng(seed).normal(size=(num_samples, num_features)).astype(np.float32)
    weights = np.random.default_rng(99).normal(size=(num_features, num_outputs))
    noise = np.random.default_rng(seed + 1000).normal(0, 0.05, (num_samples, num_outputs))
    return Samples(x, (x @ weights + noise).astype(np.float32))


def classification_file(folder: Path, sizes: dict[str, int] | None = None, shape: tuple[int, ...] = IMAGE) -> Path:
    """Write an HDF5 file with images (or other shapes) of three classes."""
    path = folder / "classes.h5"
    splits = {split: classes(size, seed, shape) for seed, (split, size) in enumerate((sizes or SIZES).items())}
    write(path, splits, source="tiny", task="classification", license="CC0-1.0", class_names=["dark", "gray", "light"])
    return path


def compressed(path: Path) -> Path:
    """Write the same file with its inputs in gzip chunks of four samples."""
    target = path.with_name(f"compressed-{path.name}")
    compress_inputs(path, target)
    return target


def regression_file(folder: Path, num_outputs: int = 1) -> Path:
    """Write an HDF5 file with vectors and values."""
    path = folder / "values.h5"
    splits = {split: values(size, seed, num_outputs=num_outputs) for seed, (split, size) in enumerate(SIZES.items())}
    write(path, splits, source="line", task="regression", license="CC0-1.0")
    return path


def raw(file: Path, **sections: Any) -> dict[str, Any]:
    """The content of a YAML file: a small MLP for one epoch on the CPU, without W&B.

    Args:
        file: the HDF5 file.
        sections: see :func:`benchmarks.experiments.configuration`.
    """
    return configuration(file, **{"name": "tiny", **sections})


def spec(
    task: str = "classification", input_shape: tuple[int, ...] = IMAGE, num_outputs: int = 3, **sizes: int
) -> DataSpec:
    """A specification of data that do not exist."""
    target = FieldSpec("targets", () if task == "classification" else (num_outputs,), "float32")
    return DataSpec(
        inputs=(FieldSpec("inputs", input_shape, "float32"),),
        targets=(target,),
        task=task,  # type: ignore[arg-type]
        num_outputs=num_outputs,
        class_names=tuple(map(str, range(num_outputs))) if task == "classification" else (),
        sizes=sizes or dict(SIZES),
        file="/data/paper.h5",
        checksum="sha256:0",
        name="paper",
    )


def training_recipe(data: DataSpec, total_steps: int = 10, loss: LossConfig | None = None) -> TrainingRecipe:
    """Adam at a constant rate, by default with the loss of the data."""
    return TrainingRecipe(
        Task(loss or LossConfig(), data),
        OPTIMIZERS["adam"](name="adam"),
        SCHEDULES["constant"](name="constant"),
        total_steps,
    )
