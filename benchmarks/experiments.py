"""Small experiments to measure: their data file, their configuration, and a prepared run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_dl.cluster.prepare import prepare
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.files.format import Samples, write
from hpc_dl.runs.folder import RunFolder

# Sections that are replaced as a whole: their keys depend on the name in them.
_NAMED_SECTIONS = ("model", "optimizer", "schedule", "loss")


def write_noise_images(path: Path, sizes: Mapping[str, int], shape: tuple[int, ...], num_classes: int = 10) -> None:
    """Write a classification file of random bytes, whose labels count through the classes.

    Args:
        path: of the new HDF5 file.
        sizes: number of samples of each split.
        shape: of one sample.
        num_classes: number of classes.
    """
    generator = np.random.default_rng(0)
    splits = {
        split: Samples(generator.integers(0, 256, (size, *shape), dtype=np.uint8), np.arange(size) % num_classes)
        for split, size in sizes.items()
    }
    class_names = [str(number) for number in range(num_classes)]
    write(path, splits, source="noise", task="classification", license="CC0-1.0", class_names=class_names)


def write_gray_images(path: Path, sizes: Mapping[str, int]) -> None:
    """Write noisy 1×8×8 images of three classes that differ in brightness.

    Args:
        path: of the new HDF5 file.
        sizes: number of samples of each split.
    """
    splits = {}
    for seed, (split, size) in enumerate(sizes.items()):
        labels = np.arange(size) % 3
        noise = np.random.default_rng(seed).normal(0, 25, (size, 1, 8, 8))
        images = 40 + 60 * labels.reshape(-1, 1, 1, 1) + noise
        splits[split] = Samples(images.clip(0, 255).astype(np.uint8), labels.astype(np.int64))
    class_names = ["dark", "gray", "light"]
    write(path, splits, source="noise", task="classification", license="CC0-1.0", class_names=class_names)


def compress_inputs(source: Path, target: Path) -> None:
    """Copy a data file, with its inputs in gzip chunks of four samples."""
    with h5py.File(source) as file, h5py.File(target, "w") as compressed:
        compressed.attrs.update(file.attrs)
        for split, group in file.items():
            inputs = group["inputs"][()]
            chunks = (4, *inputs.shape[1:])
            compressed.create_dataset(f"{split}/inputs", data=inputs, chunks=chunks, compression="gzip")
            file.copy(group["targets"], compressed[split])


def configuration(file: Path, **sections: Any) -> dict[str, Any]:
    """Return the content of a YAML: one epoch of a small MLP on the CPU, without W&B or figures.

    Args:
        file: the HDF5 file.
        sections: merged into it key by key; model, optimizer, schedule and loss replace the
            section.
    """
    content: dict[str, Any] = {
        "name": "benchmark",
        "seed": 7,
        "data": {"file": str(file), "batch_size": 8},
        "model": {"name": "mlp", "width": 8, "depth": 1},
        "optimizer": {"name": "sgd", "lr": 0.1},
        "trainer": {"max_epochs": 1, "num_sanity_val_steps": 0, "log_every_n_steps": 1, "figures": False},
        "resources": {"gpus_per_node": 0},
        "wandb": {"mode": "disabled"},
    }
    for key, value in sections.items():
        merge = isinstance(value, dict) and key not in _NAMED_SECTIONS
        content[key] = {**content.get(key, {}), **value} if merge else value
    return content


def prepare_run(folder: Path, content: dict[str, Any]) -> RunFolder:
    """Create the run folder of an experiment as ``hpc-dl train`` does, in ``folder/runs``."""
    experiment = Experiment.from_dict(content)
    return prepare(experiment, runs=folder / "runs", data_dir=None, command=["hpc-dl", "train"], say=lambda _: None)
