"""The configurations of the trainings that are disturbed, and their run folders."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmarks import experiments
from hpc_dl.config import yaml
from hpc_dl.runs.folder import RunFolder

SAVE_EVERY = 7  # steps
SIZES = {"train": 192, "val": 29, "test": 27}
STEPS = 72  # 24 batches of 8 in each of 3 epochs
EPOCHS = 3

#: Sections of each configuration in addition to those that all share.
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "1 rank": {"data": {"batch_size": 8}, "trainer": {"log_every_n_steps": 1}},
    "1 rank, gzip": {
        "data": {"batch_size": 4, "shuffle_buffer": 0.01},
        # Every second validation comes between two batches of one optimizer step.
        "trainer": {"accumulate_grad_batches": 2, "val_check_interval": 9, "log_every_n_steps": 2},
    },
    "2 ranks, gzip": {
        "data": {"batch_size": 4, "shuffle_buffer": 0.01},
        "trainer": {"val_check_interval": 10, "log_every_n_steps": 1},
        "resources": {"gpus_per_node": 2},
    },
    "3 ranks": {  # with three or more, the order of a sum depends on DDP's buckets
        "data": {"global_batch_size": 6},
        "trainer": {"limit_train_batches": 24, "log_every_n_steps": 3},
        "resources": {"gpus_per_node": 3},
    },
}
_SHARED: dict[str, Any] = {
    "seed": 5,
    "model": {"name": "cnn", "channels": [4, 8], "hidden": 512, "dropout": 0.5},
    "optimizer": {"name": "adam", "lr": 3e-3},
    "schedule": {"name": "cosine", "warmup_steps": 5},
    "checkpoint": {"every": f"{SAVE_EVERY} steps"},
}
_TRAINER = {"max_epochs": EPOCHS, "accelerator": "cpu", "num_sanity_val_steps": 1, "stall_timeout": 1.0}


def prepare_run(folder: Path, configuration: str) -> RunFolder:
    """Create a run folder, and the data file where it is missing."""
    file = folder / "classes.h5"
    compressed = folder / "classes-gzip.h5"
    if not file.exists():
        experiments.write_gray_images(file, SIZES)
        experiments.compress_inputs(file, compressed)
    sections = CONFIGURATIONS[configuration]
    sections = {**_SHARED, **sections, "trainer": {**_TRAINER, **sections["trainer"]}}
    content = experiments.configuration(compressed if "gzip" in configuration else file, **sections)
    if "global_batch_size" in sections["data"]:
        del content["data"]["batch_size"]
    return experiments.prepare_run(folder, content)


def has_several_ranks(configuration: str) -> bool:
    """Whether a launcher starts several ranks."""
    return not configuration.startswith("1 ")


def world_size(run: RunFolder) -> int:
    """The number of ranks of a run."""
    return int(yaml.load(run.config)["resources"]["gpus_per_node"]) or 1


def validation_steps(configuration: str) -> list[int]:
    """Return the optimizer steps after which a configuration validates."""
    trainer = CONFIGURATIONS[configuration]["trainer"]
    steps_per_epoch, batches_per_step = STEPS // EPOCHS, trainer.get("accumulate_grad_batches", 1)
    batches_per_epoch = steps_per_epoch * batches_per_step
    interval = trainer.get("val_check_interval", batches_per_epoch)
    batches = range(interval, batches_per_epoch + 1, interval)
    return [start + batch // batches_per_step for start in range(0, STEPS, steps_per_epoch) for batch in batches]


def checkpoint_in_progress(run: RunFolder) -> str | None:
    """Return the name of the checkpoint that is being written; None if there is none."""
    try:
        entries = list(os.scandir(run.checkpoints))
    except FileNotFoundError:
        return None
    return next(
        (entry.name for entry in entries if entry.name.startswith(".step-") and entry.name.endswith(".tmp")), None
    )
