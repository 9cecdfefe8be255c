"""The experiment that the tests of exact resumes interrupt, and arbitrary points to stop it at."""

import random
from pathlib import Path
from typing import Any

from hpc_dl.runs.folder import RunFolder
from tests import experiments
from tests.training.attempts import Stop

BATCHES = 24  # in an epoch
CNN: dict[str, Any] = {
    "model": {"name": "cnn", "channels": [4], "hidden": 8, "dropout": 0.5},
    "optimizer": {"name": "adam", "lr": 0.01},
    "schedule": {"name": "cosine", "warmup_steps": 5},
    "trainer": {"max_epochs": 3, "log_every_n_steps": 5},
}
HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_train_batch_end", "on_validation_batch_start")

# The same with a checkpoint every few steps, for attempts that end without a signal.
SAVE_EVERY = 3
STEPS = 2 * BATCHES
FREQUENTLY_SAVED: dict[str, Any] = CNN | {
    "trainer": {"max_epochs": 2, "log_every_n_steps": 2, "val_check_interval": 10},
    "checkpoint": {"every": f"{SAVE_EVERY} steps"},
}


def prepared(folder: Path, file: Path, **sections: Any) -> RunFolder:
    """Prepare a run of :data:`CNN`; sections replace its own, those of the trainer key by key."""
    merged = {key: {**CNN[key], **sections.pop(key, {})} if key == "trainer" else CNN[key] for key in CNN}
    return experiments.prepared(folder, experiments.raw(file, **(merged | sections)))


def seeded_stops(steps: int, count: int = 10) -> list[Stop]:
    """Return stops at arbitrary steps and hooks, always the same ones."""
    draw = random.Random(steps)
    chosen = sorted(draw.sample(range(1, steps), count))
    # The last ones leave time for the training to reach a validation, or the end of the
    # accumulation.
    return [Stop(step, draw.choice(HOOKS if step < 0.7 * steps else HOOKS[:1])) for step in chosen]
