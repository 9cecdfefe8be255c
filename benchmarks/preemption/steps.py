"""The time per step with hpc_dl and with Lightning alone.

``python -m benchmarks.preemption.steps RUN_FOLDERS...`` is one rank's process of the measurement.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import experiments
from hpc_dl.data.files.format import Samples, write
from hpc_dl.runs.folder import RunFolder

FEATURES = 64
# Arguments of the module, and the batch size. Long steps take about 10 ms; short steps consist of
# almost nothing but the loop and show microseconds.
LONG = {"width": 640, "batch": 256, "skip": 20, "measure": 150}
SHORT = {"width": 8, "batch": 8, "skip": 50, "measure": 400}


def prepare(folder: Path, size: dict[str, int], ranks: int, **trainer: Any) -> RunFolder:
    """Create the run folder of an experiment with steps of some size."""
    samples = size["batch"] * ranks * (size["skip"] + size["measure"] + 5)
    file = folder / f"{samples}.h5"
    if not file.exists():
        x = np.random.default_rng(0).integers(0, 255, (samples, FEATURES), dtype=np.uint8)
        write(file, {"train": Samples(x, x[:, :1].astype("float32"))}, source="noise", task="regression", license="CC0")
    args = {key: size[key] for key in ("width", "skip", "measure", "ballast") if key in size}
    content = experiments.configuration(
        file,
        data={"batch_size": size["batch"]},
        model={"class": "benchmarks.preemption.timed_module.TimedModule", "args": args},
        trainer={"accelerator": "cpu", "log_every_n_steps": 50, **trainer},
        resources={"gpus_per_node": 0 if ranks == 1 else ranks},
    )
    del content["optimizer"]
    return experiments.prepare_run(folder, content)


def overhead(folder: Path, size: dict[str, int], ranks: int, pairs: int) -> dict[str, Any]:
    """Measure seconds per step with hpc_dl and without, and their difference.

    Args:
        folder: for the data and the runs.
        size: ``LONG`` or ``SHORT``.
        ranks: number of processes that train together.
        pairs: number of trainings with hpc_dl, each followed or preceded by one without.
    """
    run = prepare(folder, size, ranks, max_epochs=1).path
    copies = [str(shutil.copytree(run, f"{run}-{number}")) for number in range(pairs + 1)]
    command = [sys.executable, "-m", "benchmarks.preemption.steps", *copies]
    started = [
        subprocess.Popen(
            command, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for variables in _environments(ranks)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in started]
    measured = json.loads(outputs[0].strip().splitlines()[-1])
    result: dict[str, Any] = {"ranks": ranks, "pairs": pairs, "parts": measured["parts"]}
    for kind in ("cpu", "wall"):
        with_, without = ([interval[kind] for interval in measured["steps"][name]] for name in ("with", "without"))
        quiet_with, quiet_without = (statistics.quantiles(values, n=10)[0] for values in (with_, without))
        result[kind] = {
            "with_s": statistics.median(with_),
            "without_s": statistics.median(without),
            "difference_s": statistics.median(with_) - statistics.median(without),
            "quiet_difference_s": quiet_with - quiet_without,
        }
    return result


def _environments(ranks: int) -> list[dict[str, str]]:
    """The variables by which each rank finds the others."""
    if ranks == 1:
        return [{}]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "NODE_RANK": "0"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]


# --- one rank's process -------------------------------------------------------------------------


def train_with_lightning(run: RunFolder) -> None:
    """Run the same training with Lightning alone."""
    import pytorch_lightning as pl

    from hpc_dl.config import yaml
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.data.datamodule import HDF5DataModule
    from hpc_dl.data.open_spec import open_spec
    from hpc_dl.training.model_building import build_model
    from hpc_dl.training.ranks import Ranks

    experiment = Experiment.from_dict(yaml.load(run.config))
    data = open_spec(experiment.data)
    pl.seed_everything(experiment.seed, workers=True, verbose=False)
    ranks = Ranks.from_environment()
    pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        devices=ranks.world_size,
        strategy="auto" if ranks.world_size == 1 else "ddp",
        plugins=[ranks.lightning_environment()],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    ).fit(build_model(experiment, data), HDF5DataModule.from_config(experiment.data, data, seed=experiment.seed))


def measure_rank(folders: list[Path]) -> None:
    """Train with and without hpc_dl in turns, as one rank; rank 0 prints the times as JSON."""
    import torch

    from benchmarks.preemption import timed_module
    from hpc_dl.training.stopping import signals
    from hpc_dl.training.train import train

    warnings.filterwarnings("ignore")
    # One core and one thread for each rank: threads that wait for each other on shared cores would
    # be counted, too.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ.get("RANK", "0")) % len(cores)]})
    torch.set_num_threads(1)
    signals.install()
    environment = dict(os.environ)
    measured: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for number, folder in enumerate(folders):
        turns = ["with", "without"] if number % 2 else ["without", "with"]
        for name in turns:
            os.environ.update(environment)  # Lightning deletes WORLD_SIZE after a training
            if name == "with":
                train(RunFolder(folder))
            else:
                train_with_lightning(RunFolder(folder))
            if number:  # the first pair warms up
                measured[name] += timed_module.INTERVALS
            timed_module.INTERVALS.clear()
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({"steps": measured, "parts": timed_module.PARTS}))
    sys.stdout.flush()
    os._exit(0)  # the exit handlers of torch may wait for ranks that have ended


if __name__ == "__main__":
    measure_rank([Path(argument) for argument in sys.argv[1:]])
