"""The cost of many runs: ``status`` and ``results`` of finished ones, ``sweep`` of new ones.

``python -m benchmarks.many_runs`` writes benchmarks/many_runs.json and a section of
docs/reference/benchmarks.md. ``--quick`` makes 100 runs; its results go to ``--json FILE`` only.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.page import describe, paragraph, table
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder

NUM_RUNS = 10_000
REPEATS = 5
ROWS = 20  # of a journal
COMMANDS = {
    "status": ["status"],
    "results": ["results"],
    "results --group --best 10": ["results", "--group", "--best", "10"],
    "results --where seed=7": ["results", "--where", "seed=7"],
}
NUM_MEMBERS = 1_000
MODELS = (10, NUM_MEMBERS)
_SETTLED_S = 10.0  # files as new as this may still change unnoticed, so no command relies on them


def make_runs(runs: Path, number: int) -> None:
    """Write the files of finished Slurm jobs that the commands read.

    Args:
        runs: the folder of the runs.
        number: how many; every tenth has the same settings up to the seed.
    """
    base = Experiment.load(Path("cnn-digits")).to_dict()
    metrics = [f"{split}/{name}" for split in ("train", "val", "test") for name in ("loss", "accuracy", "f1")]
    for index in range(number):
        run = RunFolder.create_at(runs / f"cnn-digits-{index:05}")
        settings = {**base, "seed": index % 10, "optimizer": {**base["optimizer"], "lr": 1e-3 * (1 + index // 10)}}
        run.config.write_text(yaml.dumps(settings), encoding="utf-8")
        values = {name: (index * 7919 % 10_000) / 10_000 for name in metrics}
        journal = [{"attempt": 0, "from_step": 0, "time": 1767225600.0}]
        journal += [{"step": step, "epoch": step, "time": 1767225600.0 + step, **values} for step in range(ROWS)]
        files: dict[Path, str] = {
            run.job: json.dumps({"job_id": str(index + 1), "host": "login", "submitted": "2026-01-01T00:00:00+0000"}),
            run.journal / "attempt-000.jsonl": "".join(json.dumps(row) + "\n" for row in journal),
            run.result: json.dumps({"run": run.name, "metrics": values, "epochs": ROWS, "seconds": 12.5}),
            run.state: json.dumps({"state": "finished", "time": "2026-01-01T01:00:00+0000", "step": ROWS}),
        }
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")


def measured(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Return the wall and CPU seconds of a command."""
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return {"wall": time.perf_counter() - start, "cpu": cpu}


def prepared_sweep(folder: Path, members: int, models: int) -> dict[str, float]:
    """Return the cost of ``hpc-dl sweep`` for members of some different models.

    A program that only counts its calls takes the place of sbatch.
    """
    widths, rates = range(8, 8 + models), range(members // models)
    content = {
        **Experiment.load(Path("mlp-digits"), "trainer.max_epochs=1").to_dict(),
        "sweep": {
            "method": "grid",
            "parameters": {
                "model.width": {"values": list(widths)},
                "optimizer.lr": {"values": [1e-4 * (1 + rate) for rate in rates]},
            },
        },
    }
    folder.mkdir()
    config, sbatch, runs = folder / "sweep.yaml", folder / "bin" / "sbatch", folder / "runs"
    config.write_text(yaml.dumps(content), encoding="utf-8")
    sbatch.parent.mkdir()
    sbatch.write_text(f"#!/bin/sh\necho call >>'{folder}/calls'\necho Submitted batch job 7\n", encoding="utf-8")
    sbatch.chmod(0o755)
    profile = folder / "site.yaml"
    profile.write_text("{}", encoding="utf-8")
    hpc_dl = str(Path(sys.executable).with_name("hpc-dl"))
    environment = os.environ | {"PATH": f"{sbatch.parent}:{os.environ['PATH']}"}
    seconds = measured([hpc_dl, "sweep", str(config), "--site", str(profile), "--runs", str(runs)], environment)
    files = [path for path in runs.rglob("*") if path.is_file() and not path.is_symlink()]
    calls = (folder / "calls").read_text(encoding="utf-8").count("call")
    return {**seconds, "members": members, "models": models, "files": len(files), "calls": calls,
            "bytes": sum(512 * path.stat().st_blocks for path in files)}  # fmt: skip


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    text = (
        f"A folder of {results['num_runs']:,} finished runs of Slurm jobs, 10 seeds of each setting. The first call "
        f"reads all files; later calls the index that it wrote: the fastest of {results['repeats']}. "
        f"{describe(results['machine'])}"
    )
    bare = results["help"]["cpu"]
    rows = [
        [f"`hpc-dl {name}`", f"{first['cpu']:.2f}", f"{later['cpu']:.2f}", f"{later['wall']:.2f}",
         f"{first['cpu'] / later['cpu']:.1f}", f"{later['cpu'] / bare:.1f}"]
        for name, (first, later) in results["commands"].items()
    ]  # fmt: skip
    head = ["command", "first, CPU s", "later, CPU s", "later, wall s", "first / later", "later / `hpc-dl --help`"]
    sweeps = [
        [f"{it['members']:,} members, {it['models']:,} models", f"{it['cpu']:.1f}", f"{it['wall']:.1f}",
         f"{it['files'] / it['members']:.1f}", f"{it['bytes'] / 1e6:.0f}", f"{it['calls']}"]
        for it in results["sweeps"]
    ]  # fmt: skip
    text_of_sweeps = (
        "`hpc-dl sweep` prepares and submits a new sweep of mlp-digits. Each different model is built once to check "
        "it. Only sbatch was replaced by a program that counts its calls."
    )
    head_of_sweeps = ["sweep", "CPU s", "wall s", "files of a member", "MB of all", "calls of sbatch"]
    return [
        *paragraph(text), "", *table(head, rows), "", *paragraph(text_of_sweeps), "", *table(head_of_sweeps, sweeps),
    ]  # fmt: skip


def main() -> None:
    """Measure every command, and publish the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.many_runs", description=__doc__)
    options = page.parse(parser, quick="100 runs")
    number, repeats = (100, 1) if options.quick else (NUM_RUNS, REPEATS)
    members, models = (20, (2,)) if options.quick else (NUM_MEMBERS, MODELS)
    results: dict[str, Any] = {"machine": page.machine(), "num_runs": number, "repeats": repeats, "commands": {}}
    hpc_dl = str(Path(sys.executable).with_name("hpc-dl"))
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder, "runs"), number)
        time.sleep(_SETTLED_S)
        results["help"] = measured([hpc_dl, "--help"], dict(os.environ))
        for name, arguments in COMMANDS.items():
            cache = Path(folder, f"cache-{name.replace(' ', '-')}")
            environment = os.environ | {"HPC_DL_RUNS": str(Path(folder, "runs")), "XDG_CACHE_HOME": str(cache)}
            first, *later = (measured([hpc_dl, *arguments], environment) for _ in range(1 + repeats))
            results["commands"][name] = [first, min(later, key=lambda seconds: seconds["cpu"])]
        results["sweeps"] = [prepared_sweep(Path(folder, f"sweep-{count}"), members, count) for count in models]
    page.publish("many_runs", results, options.json)


if __name__ == "__main__":
    main()
