"""The test of the image that ``apptainer test`` runs: pinned packages, and a working training.

    python check_image.py CONSTRAINTS

Exit status 0 if it passes, else 1 with every problem that was found.
"""

import importlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIRED = ("h5py", "hpc_dl", "pytorch_lightning", "submitit", "torch", "torchmetrics", "wandb")
# Pinned by torch (its CUDA packages), part of every virtual environment, or hpc_dl itself.
NOT_PINNED = re.compile(r"nvidia-.*|cuda-.*|triton|pip|setuptools|wheel|hpc-dl")
EXPERIMENT = """\
name: image-test
data: {source: digits, batch_size: 8}
model: {name: mlp, width: 8}
trainer: {max_steps: 1, accelerator: cpu}
resources: {gpus_per_node: 0, cpus_per_gpu: 1}
wandb: {mode: disabled}
"""


def package_problems(constraints: str) -> list[str]:
    """Return the differences between the installed packages and the pinned versions."""
    lines = [line.partition("#")[0].strip() for line in constraints.splitlines()]
    pins = {_normalized(name): version for name, _, version in (line.partition("==") for line in lines if line)}
    installed = {
        # Without the local version: 2.13.0+cpu and 2.13.0+cu130 are both 2.13.0.
        _normalized(package.metadata["Name"]): package.version.partition("+")[0]
        for package in importlib.metadata.distributions()
    }
    problems = []
    for name, version in sorted(installed.items()):
        if name not in pins and not NOT_PINNED.fullmatch(name):
            problems.append(f"{name} {version} is installed, but not pinned")
        elif name in pins and pins[name] != version:
            problems.append(f"{name} {version} is installed, but {pins[name]} is pinned")
    problems += [f"{module} is not installed" for module in REQUIRED if _normalized(module) not in installed]
    return problems


def import_problems() -> list[str]:
    """Return the required modules that cannot be imported."""
    problems = []
    for module in REQUIRED:
        try:
            importlib.import_module(module)
        except Exception as error:
            problems.append(f"import {module}: {type(error).__name__}: {error}")
    return problems


def training_problems(folder: Path) -> list[str]:
    """Train for one step with the real commands, from the HDF5 file to the result."""
    config = folder / "tiny.yaml"
    config.write_text(EXPERIMENT)
    data = ["--data", str(folder / "data")]
    for arguments in (
        ["models"],
        ["data", "make", "digits", *data],
        ["data", "verify", str(folder / "data" / "digits.h5")],
        ["validate", str(config), *data],
        ["train", str(config), *data, "--runs", str(folder / "runs"), "--json"],
    ):
        print(f"%test: hpc-dl {' '.join(arguments)}", flush=True)
        done = subprocess.run(
            ["hpc-dl", *arguments], cwd=folder, env={**os.environ, "HOME": str(folder)}, capture_output=True, text=True
        )
        if done.returncode:
            return [f"hpc-dl {arguments[0]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"]
    result = json.loads(done.stdout)
    if result["state"] != "finished" or "test/accuracy" not in result["metrics"]:
        return [f"the result of the training is incomplete: {done.stdout}"]
    return []


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Run the checks and print every problem; the training only if the others pass."""
    print("%test: packages", flush=True)
    problems = package_problems(Path(sys.argv[1]).read_text())
    print("%test: imports", flush=True)
    problems += import_problems()
    if not problems:
        with tempfile.TemporaryDirectory() as folder:
            problems = training_problems(Path(folder))
    for problem in problems:
        print(f"%test: FAILED: {problem}", file=sys.stderr)
    if not problems:
        print("%test: passed")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
