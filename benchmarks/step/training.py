"""The ways to train a network, each in its own process, with the time of every step.

``python -m benchmarks.step.training NETWORK WAY RUN_FOLDER RESULTS_FILE`` is that process.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from benchmarks.step.networks import NETWORKS
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.model_building import build_model

BATCH = 128
Batch = tuple[torch.Tensor, torch.Tensor]


class Stopwatch:
    """Measures seconds per step over intervals of several steps."""

    def __init__(self, interval: int) -> None:
        self.intervals: list[dict[str, float]] = []
        self._interval = interval
        self._num_steps = 0
        self._interval_start = (0.0, 0.0)

    def count_step(self) -> None:
        """Note the start of a step."""
        if self._num_steps % self._interval == 0:
            now = (time.process_time(), time.perf_counter())
            if self._num_steps:
                cpu, wall = (
                    (end - start) / self._interval for end, start in zip(now, self._interval_start, strict=True)
                )
                self.intervals.append({"cpu": cpu, "wall": wall})
            self._interval_start = now
        self._num_steps += 1

    def watch(self, module: type[pl.LightningModule]) -> None:
        """Count each training step of a class."""
        original = module.training_step

        def training_step(own: Any, batch: Any, batch_idx: int) -> Any:
            self.count_step()
            return original(own, batch, batch_idx)

        module.training_step = training_step  # type: ignore[method-assign, assignment]


def train_and_time(network: str, way: str, folder: Path, results: Path) -> None:
    """Train in one of the ways, write the seconds of the intervals as JSON, and end the process."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # threads that wait for each other on shared cores would be counted, too
    run = RunFolder(folder)
    experiment = Experiment.from_dict(yaml.load(run.config))
    data = open_spec(experiment.data)
    pl.seed_everything(0, verbose=False)
    model = build_model(experiment, data)
    steps = experiment.trainer.max_steps
    assert steps is not None
    stopwatch = Stopwatch(NETWORKS[network].interval)
    stopwatch.watch(type(model))
    trainings: dict[str, Callable[[], None]] = {
        "bare": lambda: by_hand(model, steps),
        "off": lambda: by_lightning(model, steps, folder, features=False),
        "default": lambda: by_lightning(model, steps, folder, features=True),
        "hpc_dl": lambda: by_hpc_dl(run),
    }
    trainings[way]()
    warm = stopwatch.intervals[len(stopwatch.intervals) // 5 :]
    results.write_text(json.dumps(warm))
    os._exit(0)


def batches_in_memory() -> list[Batch]:
    """Return 100 batches of noise in the shape of Fashion-MNIST, as float32."""
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.rand(BATCH, 1, 28, 28, generator=generator), torch.randint(10, (BATCH,), generator=generator))
        for _ in range(100)
    ]


class BatchesInMemory(torch.utils.data.IterableDataset[Batch]):
    """The same batches for Lightning, which would take a list for several loaders."""

    def __init__(self) -> None:
        self._batches = batches_in_memory()

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches)


def by_hand(model: pl.LightningModule, steps: int) -> None:
    """Train in the usual loop of a tutorial, with the same module, optimizer and schedule."""
    parts: Any = model.configure_optimizers()
    optimizer, scheduler = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    batches = batches_in_memory()
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss: Any = model.training_step(batches[step % len(batches)], step)
        loss.backward()
        optimizer.step()
        scheduler.step()


def by_lightning(model: pl.LightningModule, steps: int, folder: Path, *, features: bool) -> None:
    """Train with Lightning: with its default features and one ``self.log`` per step, or without."""

    class Logging(type(model)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("train/loss", loss)
            return loss

    options: dict[str, Any] = {}
    if features:
        model.__class__ = Logging
    else:
        names = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
        options = dict.fromkeys(names, False)
    trainer = pl.Trainer(accelerator="cpu", max_steps=steps, default_root_dir=folder, **options)
    type(model).validation_step = pl.LightningModule.validation_step  # type: ignore[method-assign]
    trainer.fit(model, torch.utils.data.DataLoader(BatchesInMemory(), batch_size=None))


def by_hpc_dl(run: RunFolder) -> None:
    """Train as ``hpc-dl train`` does in a job: journal, W&B, progress bar, preemption, watchdog."""
    from hpc_dl.training.stopping import signals
    from hpc_dl.training.train import train

    os.environ |= {"SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}
    signals.install()
    train(run)


if __name__ == "__main__":
    train_and_time(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
