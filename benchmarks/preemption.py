"""What it costs that a training can be stopped at any moment: per step, per stop, per start, per
checkpoint.

``python -m benchmarks.preemption`` writes benchmarks/preemption.json and a section of
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.page import machine, table, told, write_section

RESULTS = Path(__file__).with_name("preemption.json")
FEATURES = 64
LONG = {"width": 640, "batch": 256, "skip": 20, "measure": 150}  # steps of about 10 ms
SHORT = {"width": 8, "batch": 8, "skip": 50, "measure": 400}  # next to nothing but the loop: shows microseconds
STEP_S = 0.010  # what the bar of 1 % refers to
PAIRS = 5
STOPS = 5
PATIENCE_S = 120.0


def median(values: list[float]) -> float:
    return statistics.median(values)


# --- steps --------------------------------------------------------------------------------------


def prepare(folder: Path, size: dict[str, int], ranks: int, **trainer: Any) -> Any:
    """A run folder for the experiment of some size of step."""
    from tests import experiments

    samples = size["batch"] * ranks * (size["skip"] + size["measure"] + 5)
    file = folder / f"{samples}.h5"
    if not file.exists():
        import numpy as np

        from hpc_dl.data.files.format import Samples, write

        x = np.random.default_rng(0).integers(0, 255, (samples, FEATURES), dtype=np.uint8)
        write(file, {"train": Samples(x, x[:, :1].astype("float32"))}, source="noise", task="regression", license="CC0")
    args = {key: size[key] for key in ("width", "skip", "measure", "ballast") if key in size}
    raw = experiments.raw(
        file,
        data={"batch_size": size["batch"]},
        model={"class": "benchmarks.stepping.Stepping", "args": args},
        trainer={"accelerator": "cpu", "log_every_n_steps": 50, **trainer},
        resources={"gpus_per_node": 0 if ranks == 1 else ranks},
    )
    del raw["optimizer"]
    return experiments.prepared(folder, raw)


def train_plain(run: Any) -> None:
    """The same training by Lightning alone."""
    import pytorch_lightning as pl

    from hpc_dl.config import yaml
    from hpc_dl.config.experiment import Experiment
    from hpc_dl.data.datamodule import HDF5DataModule
    from hpc_dl.data.files.data_file import open_spec
    from hpc_dl.training.preflight import build_model
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


def measure_steps(folders: list[Path]) -> None:
    """In a rank's process: train with and without the machinery by turns; rank 0 prints the times."""
    import warnings

    import torch

    from benchmarks import stepping
    from hpc_dl.runs.folder import RunFolder
    from hpc_dl.training.stopping import signals
    from hpc_dl.training.train import train

    warnings.filterwarnings("ignore")
    # One core and one thread for each rank: threads that wait for each other on shared cores cost
    # what others use.
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ.get("RANK", "0")) % len(cores)]})
    torch.set_num_threads(1)
    signals.install()
    environment = dict(os.environ)
    measured: dict[str, list[dict[str, float]]] = {"with": [], "without": []}
    for number, folder in enumerate(folders):
        turns = [("with", train), ("without", train_plain)]
        for name, work in turns if number % 2 else turns[::-1]:
            os.environ.update(environment)  # Lightning deletes WORLD_SIZE after a training
            work(RunFolder(folder))  # type: ignore[operator]
            if number:  # the first pair warms up
                measured[name] += stepping.STEPS
            stepping.STEPS.clear()
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({"steps": measured, "parts": stepping.PARTS}))
    sys.stdout.flush()
    os._exit(0)  # torch's own end may wait for ranks that are gone


def overhead(folder: Path, size: dict[str, int], ranks: int) -> dict[str, Any]:
    """Time per step with and without, and their difference."""
    run = prepare(folder, size, ranks, max_epochs=1).path
    folders = [str(shutil.copytree(run, f"{run}-{number}")) for number in range(PAIRS + 1)]
    command = [sys.executable, "-m", "benchmarks.preemption", "--steps", *folders]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks), "NODE_RANK": "0"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    several = [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(ranks)]
    environments = several if ranks > 1 else [{}]
    started = [
        subprocess.Popen(command, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for own in environments
    ]
    outputs = [process.communicate(timeout=600)[0] for process in started]
    measured = json.loads(outputs[0].strip().splitlines()[-1])
    result: dict[str, Any] = {"ranks": ranks, "pairs": PAIRS, "parts": measured["parts"]}
    for kind in ("cpu", "wall"):
        with_, without = ([chunk[kind] for chunk in measured["steps"][name]] for name in ("with", "without"))
        quiet, quiet_without = (statistics.quantiles(values, n=10)[0] for values in (with_, without))
        result[kind] = {
            "with_s": median(with_),
            "without_s": median(without),
            "difference_s": median(with_) - median(without),
            "quiet_difference_s": quiet - quiet_without,
        }
    return result


# --- stops and starts ---------------------------------------------------------------------------


def attempt(folder: Path, marks: Path) -> int:
    """One rank, as Slurm starts it; notes when it has done what."""
    noted: dict[str, float] = {"program": time.time()}

    def timed(owner: Any, name: str) -> None:
        work = getattr(owner, name)

        def wrapped(*given: Any, **named: Any) -> Any:
            noted[f"{name} begins"] = time.time()
            result = work(*given, **named)
            noted[f"{name} ends"] = time.time()
            return result

        setattr(owner, name, wrapped)

    from hpc_dl.cluster.rank_process import run_rank
    from hpc_dl.runs.folder import RunFolder
    from hpc_dl.training.stopping import signals

    signals.install()
    from benchmarks.stepping import Stepping
    from hpc_dl.runs import checkpoints
    from hpc_dl.training import train

    noted["imports"] = time.time()
    timed(train, "open_spec")
    timed(train, "examine")
    timed(checkpoints, "newest_intact")
    start = Stepping.on_train_batch_start

    def first(self: Stepping, batch: Any, batch_idx: int) -> None:
        start(self, batch, batch_idx)
        Stepping.on_train_batch_start = start  # type: ignore[method-assign]
        noted["first batch"] = time.time()

    def first_end(self: Stepping, *_: Any) -> None:
        if "first step" not in noted:
            noted["first step"] = time.time()
            new = marks.with_suffix(".new")
            new.write_text(json.dumps(noted))
            new.replace(marks)

    Stepping.on_train_batch_start = first  # type: ignore[method-assign]
    Stepping.on_train_batch_end = first_end  # type: ignore[assignment,method-assign]
    return run_rank(RunFolder(folder), redirect=True)


def stops_and_starts(folder: Path, ballast: int) -> dict[str, Any]:
    """Stop a training by SIGUSR2, start it again, several times."""
    run = prepare(folder, LONG | {"ballast": ballast}, 1, max_epochs=100_000)
    stops: list[float] = []
    starts: list[dict[str, float]] = []
    for number in range(STOPS):
        marks = folder / f"marks-{ballast}-{number}.json"
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.preemption", "--attempt", str(run.path), str(marks)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = began + PATIENCE_S
            while not marks.exists():
                assert process.poll() is None and time.time() < until, run.log(0).read_text()
                time.sleep(0.01)
            noted = json.loads(marks.read_text())
            time.sleep(0.5 + 0.01 * number)  # into its stride, at another point of a step each time
            asked = time.perf_counter()
            process.send_signal(signal.SIGUSR2)
            status = process.wait(PATIENCE_S)
            stops.append(time.perf_counter() - asked)
            assert status == 75, (status, run.log(0).read_text())
        finally:
            process.kill()
            process.wait()
        if number == 0:
            continue  # nothing to go on from yet
        spent = {
            "Python": noted["program"] - began,
            "imports": noted["imports"] - noted["program"],
            "data": noted["open_spec ends"] - noted["open_spec begins"],
            "verifying the checkpoint": noted["newest_intact ends"] - noted["newest_intact begins"],
            "whether it fits": noted["examine ends"] - noted["examine begins"],
            "first step": noted["first step"] - noted["first batch"],
        }
        whole = noted["first step"] - began
        starts.append({**spent, "Lightning's setup and the restoring": whole - sum(spent.values()), "together": whole})
    timings = json.loads(run.timings.read_text())
    return {
        "ballast_bytes": ballast,
        "stop_s": median(stops),
        "slowest_stop_s": max(stops),
        "checkpoint_s": timings["checkpoint_s"],
        "start_s": {name: median([start[name] for start in starts]) for name in starts[0]},
    }


# --- checkpoints --------------------------------------------------------------------------------


def checkpoint(folder: Path, size: int) -> dict[str, Any]:
    """Seconds to write and to verify a checkpoint of so many bytes."""
    import torch

    from hpc_dl.runs import checkpoints
    from hpc_dl.training.stopping.checkpointing import FIRST_AUTO_S, LARGEST_SHARE

    content = {"weights": torch.randn(size // 4)}
    where = folder / f"checkpoints-{size}"
    where.mkdir()
    times: dict[str, list[float]] = {"ours": [], "torch.save": [], "torch.save, fsync": [], "verify": []}

    def timed(name: str, work: Callable[[], Any]) -> None:
        began = time.perf_counter()
        work()
        times[name].append(time.perf_counter() - began)

    def bare(sync: bool) -> None:
        with (where / "bare").open("wb") as file:
            torch.save(content, file)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    for step in range(7):
        timed("torch.save", lambda: bare(False))
        timed("torch.save, fsync", lambda: bare(True))
        timed("ours", lambda step=step: checkpoints.write(where, "step", step, lambda f: torch.save(content, f)))  # type: ignore[misc]
        timed("verify", lambda: checkpoints.newest_intact(where, print))
        checkpoints.prune(where)
    shutil.rmtree(where)
    medians = {name: median(values) for name, values in times.items()}
    interval = max(FIRST_AUTO_S, medians["ours"] / LARGEST_SHARE)
    began = time.perf_counter()
    hashlib.sha256(bytes(size)).digest()
    return {
        "bytes": size,
        **{f"{name}_s": value for name, value in medians.items()},
        "sha256_s": time.perf_counter() - began,
        "auto_interval_s": interval,
        "auto_share": medians["ours"] / (interval + medians["ours"]),
    }


# --- the page -----------------------------------------------------------------------------------


def page(results: dict[str, Any]) -> list[str]:
    """The section's lines."""
    lines = [
        "What it costs that a training can be stopped at any moment, and what a stop and a start take. Medians; "
        f"{told(results['machine'])} The cores are shared with other programs: CPU time tells more than wall time.",
        "",
        "### In each step",
        "",
        f"The same training by Lightning alone and with everything of ours, {results['long'][0]['pairs']} times by "
        "turns in one process for each rank; steps of about 10 ms, and steps that do next to nothing. Medians of every "
        "50 steps. What other programs do to the caches is in them; the last two columns compare the quietest tenth. "
        f"The bar: less than 1 % of a step of {1000 * STEP_S:.0f} ms of CPU time. What is more does not depend on the "
        "length of a step: on a busy machine long steps scatter by more than the bar, and the short ones tell.",
        "",
    ]
    rows = []
    for name in ("long", "short"):
        for measured in results[name]:
            for kind in ("cpu", "wall"):
                own = measured[kind]
                rows.append(
                    [
                        f"{name} steps, {_ranks(measured)}, {kind.replace('cpu', 'CPU')}",
                        f"{1000 * own['without_s']:.3f}",
                        f"{1000 * own['with_s']:.3f}",
                        f"{1e6 * own['difference_s']:.0f}",
                        f"{1e6 * own['quiet_difference_s']:.0f}",
                        f"{100 * own['quiet_difference_s'] / STEP_S:.2f} %",
                    ]
                )
    head = ["", "Lightning, ms", "hpc_dl, ms", "more, µs", "in the quietest tenth, µs", "of 10 ms"]
    lines += [*table(head, rows), "", "Each part by itself, in a loop that does nothing else:", ""]
    parts = [measured["parts"] for measured in results["short"]]
    sums = ["together", *[f"{1e6 * sum(part.values()):.1f}" for part in parts]]
    head = ["part", *[f"{_ranks(measured)}, µs" for measured in results["short"]]]
    lines += table(head, [*[[name, *[f"{1e6 * part[name]:.1f}" for part in parts]] for name in parts[0]], sums])
    lines += [
        "",
        "With several ranks the boundary waits in this loop for the words of the others; in a training they travel "
        "during the step.",
        "",
        "### Stops and starts",
        "",
        f"One rank, steps of about 10 ms; {STOPS} stops by SIGUSR2 for each size.",
        "",
    ]
    own = results["stops"]
    head = ["", *[f"{_size(measured['ballast_bytes'])} checkpoint, s" for measured in own]]
    rows = [["from the signal to the exit", *[f"{measured['stop_s']:.2f}" for measured in own]]]
    rows += [["the slowest of these", *[f"{measured['slowest_stop_s']:.2f}" for measured in own]]]
    rows += [["from the start to the end of the first step", *[f"{m['start_s']['together']:.2f}" for m in own]]]
    for name in own[0]["start_s"]:
        if name != "together":
            rows.append([f"– {name}", *[f"{measured['start_s'][name]:.3f}" for measured in own]])
    lines += [*table(head, rows), "", "### Checkpoints", ""]
    lines += table(
        ["size", "`torch.save`, s", "and fsync, s", "verified, s", "verifying before a start, s", "share with `auto`"],
        [
            [
                _size(measured["bytes"]),
                *[f"{measured[key]:.3f}" for key in ("torch.save_s", "torch.save, fsync_s", "ours_s", "verify_s")],
                f"{100 * measured['auto_share']:.2f} %",
            ]
            for measured in results["checkpoints"]
        ],
    )
    return lines


def _ranks(measured: dict[str, Any]) -> str:
    return "1 rank" if measured["ranks"] == 1 else f"{measured['ranks']} ranks"


def _size(number: int) -> str:
    return f"{number / 1e6:.0f} MB"


def main() -> int:
    """Measure everything, or what one process measures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.preemption", description=__doc__)
    parser.add_argument("--steps", nargs="+", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--attempt", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps:
        measure_steps(options.steps)
    if options.attempt:
        return attempt(*options.attempt)
    facts = machine("torch", "pytorch-lightning")
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-") as temporary:
        folder = Path(temporary)
        results: dict[str, Any] = {"machine": facts}
        results["long"] = [overhead(folder, LONG, ranks) for ranks in (1, 2)]
        results["short"] = [overhead(folder, SHORT, ranks) for ranks in (1, 2)]
        results["stops"] = [stops_and_starts(folder, size) for size in (1_000_000, 100_000_000)]
        results["checkpoints"] = [checkpoint(folder, size) for size in (1_000_000, 100_000_000)]
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    lines = page(results)
    write_section("Preemption", lines)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
