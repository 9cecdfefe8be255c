"""What a training step costs beside the network itself: a loop by hand, Lightning's Trainer,
hpc_dl.

``python -m benchmarks.step`` writes benchmarks/step.json and a section of docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from benchmarks.page import machine, table, told, write_section

RESULTS = Path(__file__).with_name("step.json")
ROUNDS = 7
PATIENCE_S = 300.0
BATCH = 128
SAMPLES = 60_000  # 1×28×28 bytes, as in Fashion-MNIST

#: Ways to train, in the order of the table.
WAYS = {
    "bare": "PyTorch by hand",
    "off": "Lightning, all off",
    "default": "Lightning, defaults",
    "hpc_dl": "hpc_dl",
}
#: For each network its ``model`` section, the optimizer steps of a training, and how many are timed
#: as one.
NETWORKS: dict[str, dict[str, Any]] = {
    "small MLP": {"model": {"name": "mlp", "depth": 1, "width": 64}, "steps": 2000, "chunk": 50},
    "MLP": {"model": {"name": "mlp", "depth": 2, "width": 256, "dropout": 0.1}, "steps": 1000, "chunk": 50},
    "CNN": {"model": {"name": "cnn", "channels": [32, 64], "dropout": 0.25}, "steps": 45, "chunk": 5},
    "LSTM": {"model": {"class": "benchmarks.step.LSTM"}, "steps": 300, "chunk": 20},
}
OPTIMIZER = {"name": "adamw", "lr": 1e-3}
SCHEDULE = {"name": "cosine", "warmup_steps": 100}


class LSTM(pl.LightningModule):
    """Reads an image row by row (Hochreiter and Schmidhuber, 1997)."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(28, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        states, _ = self.rows(x.squeeze(1))
        return nn.functional.cross_entropy(self.head(states[:, -1]), y)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        from hpc_dl.learning.optimizers import OPTIMIZERS
        from hpc_dl.learning.schedules import SCHEDULES

        optimizer = OPTIMIZERS[OPTIMIZER["name"]](**OPTIMIZER).build(self.parameters())  # type: ignore[arg-type]
        scheduler = SCHEDULES["cosine"](**SCHEDULE).build(optimizer, NETWORKS["LSTM"]["steps"])
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


# --- one process --------------------------------------------------------------------------------


class Clock:
    """Times every so many steps: seconds per step of each of them."""

    def __init__(self, chunk: int) -> None:
        self.chunks: list[dict[str, float]] = []
        self._chunk = chunk
        self._steps = 0
        self._began = (0.0, 0.0)

    def tick(self) -> None:
        """At the beginning of each step."""
        if self._steps % self._chunk == 0:
            now = (time.process_time(), time.perf_counter())
            if self._steps:
                spent = [(end - begin) / self._chunk for end, begin in zip(now, self._began, strict=True)]
                self.chunks.append({"cpu": spent[0], "wall": spent[1]})
            self._began = now
        self._steps += 1

    def watch(self, module: type[pl.LightningModule]) -> None:
        """Tick in each training step of a class."""
        step = module.training_step

        def training_step(own: Any, batch: Any, batch_idx: int) -> Any:
            self.tick()
            return step(own, batch, batch_idx)

        module.training_step = training_step  # type: ignore[method-assign, assignment]


def measure(network: str, way: str, folder: Path, results: Path) -> None:
    """Train in this process in one of the ways, and write the times of its steps."""
    import warnings

    from hpc_dl.config import yaml
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.data.open_spec import open_spec
    from hpc_dl.runs.folder import RunFolder
    from hpc_dl.training.preflight import build_model

    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)  # threads that wait for each other on shared cores would be counted, too
    size = NETWORKS[network]
    run = RunFolder(folder)
    experiment = Experiment.from_dict(yaml.load(run.config))
    data = open_spec(experiment.data)
    pl.seed_everything(0, verbose=False)
    model = build_model(experiment, data)
    clock = Clock(size["chunk"])
    clock.watch(type(model))
    work: dict[str, Callable[[], None]] = {
        "bare": lambda: by_hand(model, size["steps"]),
        "off": lambda: by_lightning(model, size["steps"], folder, off=True),
        "default": lambda: by_lightning(model, size["steps"], folder, off=False),
        "hpc_dl": lambda: by_hpc_dl(run),
    }
    work[way]()
    results.write_text(json.dumps(clock.chunks[len(clock.chunks) // 5 :]))
    os._exit(0)


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """An epoch of what the networks get, ready in memory."""
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.rand(BATCH, 1, 28, 28, generator=generator), torch.randint(10, (BATCH,), generator=generator))
        for _ in range(100)
    ]


class Ready(torch.utils.data.IterableDataset[Any]):
    """The same for Lightning, which takes a list for several loaders."""

    def __init__(self) -> None:
        self._batches = batches()

    def __iter__(self) -> Any:
        return iter(self._batches)


def by_hand(model: pl.LightningModule, steps: int) -> None:
    """The loop of every tutorial, with the same module, optimizer and schedule."""
    parts: Any = model.configure_optimizers()
    optimizer, scheduler = parts["optimizer"], parts["lr_scheduler"]["scheduler"]
    ready = batches()
    model.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss = model.training_step(ready[step % len(ready)], step)
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        scheduler.step()


def by_lightning(model: pl.LightningModule, steps: int, folder: Path, *, off: bool) -> None:
    """Lightning's Trainer: with its defaults and one ``self.log`` in a step, or with neither."""

    class Logging(type(model)):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            self.log("train/loss", loss)
            return loss

    if off:
        options: dict[str, Any] = dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
    else:
        options = {}
        model.__class__ = Logging
    trainer = pl.Trainer(accelerator="cpu", max_steps=steps, default_root_dir=folder, **options)
    type(model).validation_step = pl.LightningModule.validation_step  # type: ignore[method-assign]
    trainer.fit(model, torch.utils.data.DataLoader(Ready(), batch_size=None))


def by_hpc_dl(run: Any) -> None:
    """As ``hpc-dl train`` on a terminal, in a job: HDF5 input, journal, W&B, progress bar,
    preemption, watchdog."""
    from hpc_dl.training.stopping import signals
    from hpc_dl.training.train import train

    os.environ |= {"SLURM_CPUS_PER_TASK": "1", "SLURM_JOB_END_TIME": str(int(time.time()) + 3600)}
    signals.install()
    train(run)


# --- all of them --------------------------------------------------------------------------------


def data_file(folder: Path) -> Path:
    """Noise in the shape of Fashion-MNIST."""
    import numpy as np

    from hpc_dl.data.files.format import Samples, write

    generator = np.random.default_rng(0)
    splits = {
        split: Samples(generator.integers(0, 255, (size, 1, 28, 28), dtype=np.uint8), np.arange(size) % 10)
        for split, size in {"train": SAMPLES, "val": 256, "test": 256}.items()
    }
    file = folder / "noise.h5"
    write(file, splits, source="noise", task="classification", license="CC0-1.0", class_names=list("0123456789"))
    return file


def prepare(folder: Path, file: Path, network: str) -> Path:
    """A new run folder."""
    from tests import experiments

    raw = experiments.raw(
        file,
        data={"batch_size": BATCH},
        model=NETWORKS[network]["model"],
        trainer={"max_epochs": None, "max_steps": NETWORKS[network]["steps"], "log_every_n_steps": 50},
        wandb={"mode": "offline"},
    )
    raw |= {"optimizer": OPTIMIZER, "schedule": SCHEDULE}
    if "class" in NETWORKS[network]["model"]:
        raw["model"] = NETWORKS[network]["model"]
        del raw["optimizer"], raw["schedule"]
    folder.mkdir(parents=True)
    return experiments.prepared(folder, raw).path


def timed(folder: Path, file: Path, network: str, way: str, number: int) -> dict[str, float]:
    """Median times of a step in a process of its own, on a terminal of its own."""
    run = prepare(folder / f"{network}-{way}-{number}", file, network)
    results = run / "times.json"
    work = f"from pathlib import Path; from benchmarks import step; step.measure({network!r}, {way!r}, Path({str(run)!r}), Path({str(results)!r}))"  # noqa: E501
    ours, terminal = pty.openpty()
    heard: list[bytes] = []

    def listen() -> None:
        while True:
            try:
                heard.append(os.read(ours, 65536))
            except OSError:  # the other end is closed
                return

    listener = threading.Thread(target=listen, daemon=True)
    process = subprocess.Popen(
        [sys.executable, "-c", work], stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    listener.start()
    try:
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    listener.join(1.0)
    assert results.exists(), b"".join(heard).decode(errors="replace")
    chunks = json.loads(results.read_text())
    own = {}
    for kind in ("cpu", "wall"):
        values = sorted(chunk[kind] for chunk in chunks)
        own[kind] = statistics.median(values)
        own[f"quiet_{kind}"] = statistics.median(values[: max(1, len(values) // 10)])
    return own


def page(results: dict[str, Any]) -> list[str]:
    """The section's lines."""
    lines = [
        "What a training step costs beside the network: the same networks, AdamW and cosine schedule, on batches of "
        f"{BATCH} 1×28×28 images, in one thread. By hand and in Lightning the batches lie ready in memory as float32; "
        "hpc_dl reads bytes from HDF5 and scales them, writes the journal, records for W&B offline, draws the progress "
        "bar, looks for signals and for the end of the job, and is watched. Lightning with its defaults logs the loss "
        f"by `self.log`. Medians of {results['rounds']} processes for each, by turns; each process tells the median of "
        f"its steps. {told(results['machine'])} The cores are shared with other programs: CPU time (of all threads) "
        "tells more than wall time.",
        "",
    ]
    rows = []
    for network, ways in results["networks"].items():
        for way, own in ways.items():
            cells = [f"{network}, {WAYS[way]}"]
            for kind in ("cpu", "quiet_cpu", "wall"):
                cells += [f"{1e6 * own[kind]:,.0f}", f"{own[kind] / ways['bare'][kind]:.2f}"]
            rows.append(cells)
    head = ["", "CPU, µs", "times by hand", "quietest tenth, µs", "times by hand", "wall, µs", "times by hand"]
    return [*lines, *table(head, rows)]


def main() -> int:
    """Measure everything, or a part of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--dry", action="store_true", help="print only")
    options = parser.parse_args()
    results: dict[str, Any] = {"machine": machine("torch", "pytorch-lightning"), "rounds": options.rounds}
    times: dict[tuple[str, str], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-") as temporary:
        folder = Path(temporary)
        file = data_file(folder)
        for number in range(options.rounds):
            for network in options.networks:
                for way in options.ways:
                    own = timed(folder, file, network, way, number)
                    times.setdefault((network, way), []).append(own)
                    print(network, way, " ".join(f"{kind} {1e6 * value:.0f}" for kind, value in own.items()))
    results["networks"] = {
        network: {
            way: {kind: statistics.median(own[kind] for own in times[network, way]) for kind in times[network, way][0]}
            for way in options.ways
        }
        for network in options.networks
    }
    lines = page(results)
    print("\n".join(lines))
    if not options.dry:
        RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        write_section("Step", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
