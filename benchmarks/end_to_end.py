"""The speed of whole trainings on Fashion-MNIST: hpc_dl, a hand-written loop, a usual script.

``python -m benchmarks.end_to_end`` writes benchmarks/end_to_end.json and a section of
docs/reference/benchmarks.md. ``--quick`` trains for a few steps; its results go to ``--json FILE``
only.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.page import describe, paragraph, table

CONFIGS = Path(__file__).parent.parent / "configs"
ROUNDS = 3
EPOCHS = 2
SKIPPED_STEPS = 50  # at the start of each epoch: one row of the journal
TIMEOUT_S = 600.0

#: Steps of an epoch, and the share of the loop by hand that hpc_dl must reach.
NETWORKS: dict[str, dict[str, Any]] = {"mlp": {"steps": 400, "floor": 0.65}, "cnn": {"steps": 150, "floor": 0.9}}
BY_HAND, HPC_DL = "tensors in memory, by hand", "hpc_dl"
#: Number of workers of each script.
SCRIPTS = {"Lightning and h5py, 0 workers": 0, "Lightning and h5py, 2 workers": 2}
WAYS = (BY_HAND, HPC_DL, *SCRIPTS)


class EpochTimer:
    """Samples per second of each epoch, from its 50th step to its last."""

    def __init__(self, steps: int, batch: int) -> None:
        self.rates: list[float] = []
        self._steps, self._batch = steps, batch
        self._start = 0.0

    def end_of_step(self, steps_done: int) -> None:
        """Note the end of a step of the epoch."""
        if steps_done == SKIPPED_STEPS:
            self._start = time.perf_counter()
        elif steps_done == self._steps:
            seconds = time.perf_counter() - self._start
            self.rates.append((self._steps - SKIPPED_STEPS) * self._batch / seconds)


# --- the ways to train --------------------------------------------------------------------------


def load(network: str, file: Path) -> tuple[Any, Any, Any]:
    """Return the experiment of a network, its data, and its module with fresh weights."""
    import pytorch_lightning as pl
    import torch

    from hpc_dl.config.experiment import Experiment
    from hpc_dl.data.config import DataConfig
    from hpc_dl.data.open_spec import open_spec
    from hpc_dl.training.model_building import build_model
    from hpc_dl.training.ranks import cpus_per_rank

    experiment = Experiment.load(CONFIGS / f"{network}-fashion_mnist.yaml")
    torch.set_num_threads(cpus_per_rank(1))
    pl.seed_everything(0, verbose=False)
    data = open_spec(DataConfig(file=str(file)))
    return experiment, data, build_model(experiment, data)


def by_hand(network: str, file: Path, steps: int) -> list[float]:
    """Train in the usual loop of a tutorial, on a tensor with the whole scaled data set."""
    import h5py
    import torch

    experiment, _, model = load(network, file)
    batch = experiment.batch_size_per_device
    with h5py.File(file) as opened:
        x = torch.from_numpy(opened["train/inputs"][:]).float() / 255
        y = torch.from_numpy(opened["train/targets"][:]).long()
    parts = model.configure_optimizers()
    optimizer, scheduler = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    timer = EpochTimer(steps, batch)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            loss: Any = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            scheduler.step()
            timer.end_of_step(step + 1)
    return timer.rates


def by_script(network: str, file: Path, steps: int, workers: int) -> list[float]:
    """Train with Lightning's defaults, a Dataset of single samples, and ``self.log`` per step."""
    import pytorch_lightning as pl
    import torch
    from torch.utils.data import DataLoader

    from benchmarks.reading.readers import NaiveDataset

    experiment, data, model = load(network, file)
    timer = EpochTimer(steps, experiment.batch_size_per_device)

    class Images(NaiveDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image, label = super().__getitem__(index)
            return image.float() / 255, label

    class Script(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            x, y = batch
            loss = torch.nn.functional.cross_entropy(self.network(x), y)
            self.log("train_loss", loss, prog_bar=True)
            return loss

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            timer.end_of_step(batch_idx + 1)

        def configure_optimizers(self) -> Any:
            return model.configure_optimizers()

    images = Images(file, data.sizes["train"])
    loader: DataLoader[Any] = DataLoader(
        images, experiment.batch_size_per_device, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    with tempfile.TemporaryDirectory() as folder:
        pl.Trainer(max_epochs=EPOCHS, limit_train_batches=steps, accelerator="cpu", default_root_dir=folder).fit(
            Script(), loader
        )
    return timer.rates


def by_hpc_dl(network: str, file: Path, steps: int, folder: Path) -> list[float]:
    """Train with ``hpc-dl train``, with W&B offline; the times come from the journal."""
    from hpc_dl.tracking.journal import read_journal

    config = CONFIGS / f"{network}-fashion_mnist.yaml"
    runs = folder / "runs"
    command = [str(Path(sys.executable).with_name("hpc-dl")), "train", str(config), "--runs", str(runs)]
    command += ["--data", str(file.parent), f"trainer.max_epochs={EPOCHS}", f"trainer.limit_train_batches={steps}"]
    command += ["resources.gpus_per_node=0", "wandb.mode=offline", f"trainer.log_every_n_steps={SKIPPED_STEPS}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    (run,) = (path for path in runs.iterdir() if (path / "journal").is_dir() and not path.is_symlink())
    rows = [row for row in read_journal(run / "journal") if "train/samples_per_s" in row]
    rates = []
    for epoch in range(EPOCHS):
        epoch_rows = [row for row in rows if epoch * steps < row["step"] <= (epoch + 1) * steps]
        # A row has the rate since the row before. Its time would serve as well, except in the last
        # row, which is written after the validation.
        intervals = [
            (row["step"] - before["step"], row["train/samples_per_s"]) for before, row in itertools.pairwise(epoch_rows)
        ]
        rates.append(sum(done for done, _ in intervals) / sum(done / rate for done, rate in intervals))
    return rates


def rates_of_epochs(way: str, network: str, file: Path, steps: int, folder: Path) -> list[float]:
    """Train in one way, in a new process; return the samples per second of each epoch."""
    folder.mkdir()
    if way == HPC_DL:
        return by_hpc_dl(network, file, steps, folder)
    results = folder / "rates.json"
    arguments = [way, network, str(file), str(steps), str(results)]
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--one", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    rates: list[float] = json.loads(results.read_text())
    return rates


def train_one(way: str, network: str, file: Path, steps: int, results: Path) -> None:
    """Train in one way in this process, and write the rates."""
    warnings.filterwarnings("ignore")
    rates = by_script(network, file, steps, SCRIPTS[way]) if way in SCRIPTS else by_hand(network, file, steps)
    results.write_text(json.dumps(rates))


# --- results ------------------------------------------------------------------------------------


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    lines = paragraph(
        "Training on Fashion-MNIST as in configs/: samples per second of the training itself, from the 50th step of an "
        "epoch to its last, without start-up and validation. By hand: a plain loop over the scaled data set in memory. "
        "The script: a Dataset that reads each sample with h5py, a DataLoader, `self.log` in each step, Lightning's "
        "defaults. hpc_dl: `hpc-dl train` with journal, W&B offline and checkpoints. All have the same network, "
        f"optimizer, schedule and number of threads. Each has its own process and trains {results['num_rounds']} times "
        "in turns with the others. Rates are medians, ratios are medians of the ratios of the same round. "
        f"{describe(results['machine'])}"
    )
    rows = []
    for network, measured in results["networks"].items():
        for way in WAYS:
            rate = f"{statistics.median(measured['rates'][way]):,.0f}"
            ratio = "" if way == HPC_DL else f"{measured['hpc_dl_times'][way]:.2f}"
            rows.append([f"{network.upper()}, {way}", rate, ratio])
    lines += ["", *table(["", "samples/s", "hpc_dl is faster, times"], rows), ""]
    for network, measured in results["networks"].items():
        verdict = "reached" if measured["reached"] else "**missed**"
        ratio = f"{measured['hpc_dl_times'][BY_HAND]:.2f}"
        lines.append(
            f"Floor of the {network.upper()}: at least {measured['floor']} of the loop by hand. {ratio}, {verdict}."
        )
    return lines


def main() -> None:
    """Measure everything and publish the results; with ``--one`` train in one way."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with fashion_mnist.h5, which is created if it is missing")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = page.parse(parser, quick="a few steps")
    if options.one:
        way, network, file_name, steps, results_file = options.one
        train_one(way, network, Path(file_name), int(steps), Path(results_file))
        sys.stdout.flush()
        os._exit(0)  # worker processes of the loader may delay a regular exit
    from hpc_dl.data import sources

    file = sources.ensure("fashion_mnist", options.data).absolute()
    rounds = 1 if options.quick else ROUNDS
    results: dict[str, Any] = {"machine": page.machine("torch", "pytorch-lightning", "h5py"), "num_rounds": rounds}
    results["networks"] = {}
    for network, size in NETWORKS.items():
        num_steps = 2 * SKIPPED_STEPS if options.quick else size["steps"]
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-") as temporary:
            for number in range(rounds):
                for position, way in enumerate(WAYS):
                    folder = Path(temporary) / f"{number}-{position}"
                    rates[way].append(statistics.median(rates_of_epochs(way, network, file, num_steps, folder)))
                    print(f"{network}, {way}: {rates[way][-1]:,.0f} samples/s", file=sys.stderr)
        ratios = {
            way: statistics.median(ours / other for ours, other in zip(rates[HPC_DL], rates[way], strict=True))
            for way in WAYS
        }
        results["networks"][network] = {
            "rates": rates,
            "hpc_dl_times": ratios,
            "floor": size["floor"],
            "reached": ratios[BY_HAND] >= size["floor"],
        }
    page.publish("end_to_end", results, options.json)


if __name__ == "__main__":
    main()
