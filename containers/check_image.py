"""What ``apptainer test`` runs in the image: are the packages the pinned ones, and does a training
work?

    python check_image.py CONSTRAINTS

Exit status 0 when all is well, else 1 with what is wrong.
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

NEEDED = ("h5py", "hpc_dl", "pytorch_lightning", "submitit", "torch", "torchmetrics", "wandb")
# Pinned by torch itself (its CUDA packages), or part of a virtual environment, or what is tested.
LOOSE = re.compile(r"nvidia-.*|cuda-.*|triton|pip|setuptools|wheel|hpc-dl")
EXPERIMENT = """\
name: image-test
data: {source: digits, batch_size: 8}
model: {name: mlp, width: 8}
trainer: {max_steps: 1, accelerator: cpu}
resources: {gpus_per_node: 0, cpus_per_gpu: 1}
wandb: {mode: disabled}
"""


def packages(constraints: str) -> list[str]:
    """What differs between the installed packages and the pins."""
    lines = [line.partition("#")[0].strip() for line in constraints.splitlines()]
    pins = {_plain(name): version for name, _, version in (line.partition("==") for line in lines if line)}
    installed = {
        # 2.13.0+cpu and 2.13.0+cu130 are both 2.13.0
        _plain(found.metadata["Name"]): found.version.partition("+")[0]
        for found in importlib.metadata.distributions()
    }
    faults = []
    for name, version in sorted(installed.items()):
        if name not in pins and not LOOSE.fullmatch(name):
            faults.append(f"{name} {version} is installed, but not pinned")
        elif name in pins and pins[name] != version:
            faults.append(f"{name} {version} is installed, but {pins[name]} is pinned")
    faults += [f"{module} is not installed" for module in NEEDED if _plain(module) not in installed]
    return faults


def imports() -> list[str]:
    """The needed modules that cannot be imported."""
    faults = []
    for module in NEEDED:
        try:
            importlib.import_module(module)
        except Exception as error:
            faults.append(f"import {module}: {type(error).__name__}: {error}")
    return faults


def training(folder: Path) -> list[str]:
    """One training step with the real commands, from HDF5 to the result."""
    config = folder / "tiny.yaml"
    config.write_text(EXPERIMENT)
    data = ["--data", str(folder / "data")]
    for words in (
        ["models"],
        ["data", "make", "digits", *data],
        ["data", "verify", str(folder / "data" / "digits.h5")],
        ["validate", str(config), *data],
        ["train", str(config), *data, "--runs", str(folder / "runs"), "--json"],
    ):
        print(f"%test: hpc-dl {' '.join(words)}", flush=True)
        done = subprocess.run(
            ["hpc-dl", *words], cwd=folder, env={**os.environ, "HOME": str(folder)}, capture_output=True, text=True
        )
        if done.returncode:
            return [f"hpc-dl {words[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}"]
    result = json.loads(done.stdout)
    if result["state"] != "finished" or "test/accuracy" not in result["metrics"]:
        return [f"the training's result is not whole: {done.stdout}"]
    return []


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Run all checks that make sense and print every fault."""
    print("%test: packages", flush=True)
    faults = packages(Path(sys.argv[1]).read_text())
    print("%test: imports", flush=True)
    faults += imports()
    if not faults:
        with tempfile.TemporaryDirectory() as folder:
            faults = training(Path(folder))
    for fault in faults:
        print(f"%test: FAILED: {fault}", file=sys.stderr)
    if not faults:
        print("%test: passed")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
