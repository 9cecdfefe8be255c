"""Measure the parts that are missing: ``python -m benchmarks.gpu``."""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import gpu, page
from benchmarks.gpu import wheels

if TYPE_CHECKING:
    from benchmarks.gpu.setting import Setting

BUDGET_S = 480.0


@dataclass(frozen=True)
class Part:
    """A part of the benchmark.

    Attributes:
        measure: returns its results.
        seconds: about what it takes on a GPU, at most.
    """

    measure: Callable[[Setting], dict[str, Any]]
    seconds: float


def all_parts() -> dict[str, Part]:
    """Return the parts, by name, the most important first."""
    from benchmarks.gpu import reading, resume, throughput, zoo

    return {
        "throughput": Part(throughput.measure, 60),
        "reading-small": Part(reading.measure_small, 40),
        "reading-large": Part(reading.measure_large, 90),
        "resume-fp32": Part(functools.partial(resume.measure, precision="32-true"), 60),
        "resume-bf16": Part(functools.partial(resume.measure, precision="bf16-mixed"), 60),
        "resume-fp16": Part(functools.partial(resume.measure, precision="16-mixed"), 60),
        "zoo-mlp-digits": Part(functools.partial(zoo.measure, config="mlp-digits"), 40),
        "zoo-cnn-digits": Part(functools.partial(zoo.measure, config="cnn-digits"), 40),
    }


def measure_parts(file: Path, setting: Setting, budget_s: float, *, again: bool) -> list[str]:
    """Measure the parts that the JSON file lacks, and write it after each.

    Args:
        file: the JSON file.
        setting: of the parts.
        budget_s: a part that would exceed this number of seconds is not started.
        again: measure all parts, and replace the file.

    Returns:
        The names of the parts that failed or were not started.
    """
    import torch

    results: dict[str, Any] = json.loads(file.read_text()) if file.exists() and not again else {"parts": {}}
    results["machine"] = page.machine("torch", "pytorch-lightning", "numpy", "h5py")
    results["card"] = torch.cuda.get_device_name() if setting.on_gpu else "CPU"
    results["date"] = datetime.date.today().isoformat()
    start = time.monotonic()
    missing = []
    for name, part in all_parts().items():
        if name in results["parts"]:
            print(f"{name}: in {file.name} already", file=sys.stderr)
            continue
        part_start = time.monotonic()
        if part_start - start + part.seconds > budget_s:
            print(f"{name}: not started, {budget_s:.0f} s would not suffice; repeat the command", file=sys.stderr)
            missing.append(name)
            continue
        try:
            results["parts"][name] = part.measure(setting)
        except Exception:  # the other parts are worth measuring
            print(f"{name}: failed\n{traceback.format_exc()}", file=sys.stderr)
            missing.append(name)
            continue
        file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
        print(f"{name}: {time.monotonic() - part_start:.1f} s", file=sys.stderr)
    return missing


def main() -> int:
    """Measure; return 1 if a part is missing, 2 without a GPU."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=gpu.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--again", action="store_true", help="measure all parts again")
    parser.add_argument("--rehearse", action="store_true", help="run all parts on CPUs with tiny sizes")
    parser.add_argument("--json", type=Path, help="write the results to this file, and nothing to the page")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="folder with the wheels of missing packages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hpc-dl-gpu-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        if options.wheels is not None:
            wheels.install(options.wheels, folder / "packages")
        import torch

        from benchmarks.gpu.setting import Setting

        if not options.rehearse and not torch.cuda.is_available():
            print(f"No GPU is visible to torch {torch.__version__}: nothing to measure.", file=sys.stderr)
            return 2
        device = torch.device("cpu" if options.rehearse else "cuda")
        file = options.json or (folder / "rehearsal.json" if options.rehearse else page.results_file("gpu"))
        budget_s = float("inf") if options.rehearse else BUDGET_S
        missing = measure_parts(file, Setting(device, folder, options.rehearse), budget_s, again=options.again)
        if file.exists():
            results = json.loads(file.read_text())
            page.publish("gpu", results, file if options.rehearse or options.json else None)
    if missing:
        print(f"Not measured: {', '.join(missing)}.", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
