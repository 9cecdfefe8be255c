"""An epoch of Fashion-MNIST through ``hpc-dl train``, by a loop over tensors in memory, and by the
usual script.

``python -m benchmarks.end_to_end`` writes benchmarks/end_to_end.json and a section of
docs/benchmarks.md. ``--quick`` trains for some steps only; its figures go to ``--json FILE``.
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
from pathlib import Path
from typing import Any

from benchmarks.page import machine, table, told, write_section

RESULTS = Path(__file__).with_name("end_to_end.json")
CONFIGS = Path(__file__).parent.parent / "configs"
ROUNDS = 3
EPOCHS = 2
SKIP = 50  # steps of an epoch before its clock starts: a row of the journal
PATIENCE_S = 600.0

#: Steps of an epoch that are trained, and what hpc_dl must reach of the loop by hand.
NETWORKS: dict[str, dict[str, Any]] = {"mlp": {"steps": 400, "floor": 0.65}, "cnn": {"steps": 150, "floor": 0.9}}
BY_HAND, OURS = "tensors in memory, by hand", "hpc_dl"
SCRIPTS = {0: "Lightning and h5py, 0 workers", 2: "Lightning and h5py, 2 workers"}
WAYS = (BY_HAND, OURS, *SCRIPTS.values())


class Clock:
    """Samples per second of each epoch, from its 50th step to its last."""

    def __init__(self, steps: int, batch: int) -> None:
        self.rates: list[float] = []
        self._steps, self._batch = steps, batch
        self._since = 0.0

    def done(self, step: int) -> None:
        """So many steps of the epoch are over."""
        if step == SKIP:
            self._since = time.perf_counter()
        elif step == self._steps:
            self.rates.append((self._steps - SKIP) * self._batch / (time.perf_counter() - self._since))


def load(network: str, file: Path) -> tuple[Any, Any, Any]:
    """The experiment of a network, its data, and its module with fresh weights."""
    import pytorch_lightning as pl
    import torch

    from hpc_dl.config.experiment import Experiment
    from hpc_dl.data.config import DataConfig
    from hpc_dl.data.open_spec import open_spec
    from hpc_dl.training.preflight import build_model
    from hpc_dl.training.ranks import cpus_per_rank

    experiment = Experiment.load(CONFIGS / f"{network}-fashion_mnist.yaml", [])
    torch.set_num_threads(cpus_per_rank(1))
    pl.seed_everything(0, verbose=False)
    data = open_spec(DataConfig(file=str(file)))
    return experiment, data, build_model(experiment, data)


def by_hand(network: str, file: Path, steps: int) -> list[float]:
    """The whole set as scaled float32 in memory, and the loop of every tutorial."""
    import h5py
    import torch

    experiment, _, model = load(network, file)
    batch = experiment.batch_size_per_device
    with h5py.File(file) as opened:
        x = torch.from_numpy(opened["train/inputs"][:]).float() / 255
        y = torch.from_numpy(opened["train/targets"][:]).long()
    parts = model.configure_optimizers()
    optimizer, scheduler = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    clock = Clock(steps, batch)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(x))
        for step in range(steps):
            rows = order[step * batch : (step + 1) * batch]
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            optimizer.step()
            scheduler.step()
            clock.done(step + 1)
    return clock.rates


def by_script(network: str, file: Path, steps: int, workers: int) -> list[float]:
    """A Dataset that asks h5py for each sample, a DataLoader, ``self.log`` in each step,
    Lightning's defaults."""
    import pytorch_lightning as pl
    import torch
    from torch.utils.data import DataLoader

    from benchmarks.reading_ways import Naive

    experiment, data, model = load(network, file)
    clock = Clock(steps, experiment.batch_size_per_device)

    class Images(Naive):
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
            clock.done(batch_idx + 1)

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
    return clock.rates


def by_hpc_dl(network: str, file: Path, steps: int, folder: Path) -> list[float]:
    """The command, as in a job: journal, W&B offline, checkpoints, validation; its times stand in
    the journal."""
    from hpc_dl.tracking.journal import read_journal

    config = CONFIGS / f"{network}-fashion_mnist.yaml"
    runs = folder / "runs"
    command = [str(Path(sys.executable).with_name("hpc-dl")), "train", str(config), "--runs", str(runs)]
    command += ["--data", str(file.parent), f"trainer.max_epochs={EPOCHS}", f"trainer.limit_train_batches={steps}"]
    command += ["resources.gpus_per_node=0", "wandb.mode=offline", f"trainer.log_every_n_steps={SKIP}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if ended.returncode:
        raise RuntimeError(ended.stdout[-2000:] + ended.stderr[-2000:])
    rates = []
    (run,) = (path for path in runs.iterdir() if (path / "journal").is_dir() and not path.is_symlink())
    rows = [row for row in read_journal(run / "journal") if "train/samples_per_s" in row]
    for epoch in range(EPOCHS):
        own = [row for row in rows if epoch * steps < row["step"] <= (epoch + 1) * steps]
        # A row tells the rate since the row before it. Its time would do, but for the last:
        # validation comes after it.
        taken = [(row["step"] - before["step"], row["train/samples_per_s"]) for before, row in itertools.pairwise(own)]
        rates.append(sum(done for done, _ in taken) / sum(done / rate for done, rate in taken))
    return rates


def in_own_process(way: str, network: str, file: Path, steps: int, folder: Path) -> list[float]:
    """The rates of the epochs of one way; its process is quiet."""
    folder.mkdir()
    if way == OURS:
        return by_hpc_dl(network, file, steps, folder)
    marks = folder / "rates.json"
    command = [sys.executable, "-m", "benchmarks.end_to_end", "--one", way, network, str(file), str(steps), str(marks)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    rates: list[float] = json.loads(marks.read_text())
    return rates


def one(way: str, network: str, file: Path, steps: int, marks: Path) -> None:
    """In a process of its own."""
    import warnings

    warnings.filterwarnings("ignore")
    workers = {name: number for number, name in SCRIPTS.items()}
    rates = by_script(network, file, steps, workers[way]) if way in workers else by_hand(network, file, steps)
    marks.write_text(json.dumps(rates))


def page(results: dict[str, Any]) -> list[str]:
    """The section's lines."""
    lines = [
        "Training on Fashion-MNIST as in configs/: samples per second of the training itself, from the 50th step of an "
        "epoch to its last, without start-up and validation. By hand: the whole set scaled in memory, a plain loop. "
        "The script: a Dataset that asks h5py for each sample, a DataLoader, `self.log` in each step, Lightning's "
        "defaults. hpc_dl: `hpc-dl train` with journal, W&B offline and checkpoints. The same network, optimizer, "
        "schedule and number of threads. Processes of their own, by turns, "
        f"{results['num_rounds']} times; medians, ratios of the same round. {told(results['machine'])}",
        "",
    ]
    rows = []
    for network, found in results["networks"].items():
        for way in WAYS:
            rows.append([f"{network.upper()}, {way}", f"{statistics.median(found['rates'][way]):,.0f}"])
            rows[-1].append("" if way == OURS else f"{found['hpc_dl_times'][way]:.2f}")
    lines += [*table(["", "samples/s", "hpc_dl is so many times faster"], rows), ""]
    for network, found in results["networks"].items():
        reached = "reached" if found["reached"] else "**missed**"
        lines.append(
            f"Floor of the {network.upper()}, at least {found['floor']} of the loop by hand: "
            f"{found['hpc_dl_times'][BY_HAND]:.2f}, {reached}."
        )
    return lines


def main() -> int:
    """Measure everything, or what one process measures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.end_to_end", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few steps: does it run?")
    parser.add_argument("--json", type=Path, help="write the figures there, and nothing on the page")
    parser.add_argument("--data", type=Path, help="folder with fashion_mnist.h5; it is made where it is missing")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, network, file, steps, marks = options.one
        one(way, network, Path(file), int(steps), Path(marks))
        return 0
    if options.quick and options.json is None:
        parser.error("--quick needs --json FILE")
    from hpc_dl.data import sources

    file = sources.ensure("fashion_mnist", options.data).absolute()
    rounds = 1 if options.quick else ROUNDS
    results: dict[str, Any] = {"machine": machine("torch", "pytorch-lightning", "h5py"), "num_rounds": rounds}
    results["networks"] = {}
    for network, size in NETWORKS.items():
        steps = 2 * SKIP if options.quick else size["steps"]
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-") as temporary:
            for number in range(rounds):
                for position, way in enumerate(WAYS):
                    folder = Path(temporary) / f"{number}-{position}"
                    rates[way].append(statistics.median(in_own_process(way, network, file, steps, folder)))
                    print(f"{network}, {way}: {rates[way][-1]:,.0f} samples/s", file=sys.stderr)
        compared = {
            way: statistics.median(own / other for own, other in zip(rates[OURS], rates[way], strict=True))
            for way in WAYS
        }
        results["networks"][network] = {
            "rates": rates,
            "hpc_dl_times": compared,
            "floor": size["floor"],
            "reached": compared[BY_HAND] >= size["floor"],
        }
    lines = page(results)
    (options.json or RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if options.json is None:
        write_section("End to end", lines)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
