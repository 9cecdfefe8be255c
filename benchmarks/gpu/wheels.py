"""The packages that a machine without a package index lacks, from a folder of wheels.

``python -m benchmarks.gpu.wheels FOLDER`` downloads them, on a machine with an index. hpc_dl's
packages that this benchmark does without (wandb, submitit, hdf5plugin, isal, matplotlib)
are left out, and so is what the other machine must have: torch, pytorch-lightning, torchmetrics,
h5py, numpy and SciPy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PACKAGES = (
    "pydantic>=2.10,<3",
    "ruamel.yaml>=0.18",
    "psutil>=6",
    "typer>=0.20,<1",
    "rich>=13.9",
    "requests>=2.31",
    "packaging>=24.2",
    "safetensors>=0.5,<1",
)
PYTHON_VERSIONS = ("3.11", "3.12", "3.13")
PLATFORMS = ("manylinux_2_17_x86_64", "manylinux2014_x86_64")
LARGEST_BYTES = 60_000_000


def download(folder: Path) -> None:
    """Download the wheels for Linux on x86-64 and every supported version of Python.

    Raises:
        SystemExit: the folder is larger than 60 MB.
    """
    for version in PYTHON_VERSIONS:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(folder)]
        command += ["--only-binary=:all:", "--python-version", version]
        command += [argument for platform in PLATFORMS for argument in ("--platform", platform)]
        subprocess.run([*command, *PACKAGES], check=True)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: {size / 1e6:.1f} MB")
    if size > LARGEST_BYTES:
        sys.exit(f"{folder} is larger than {LARGEST_BYTES / 1e6:.0f} MB: remove old wheels from it")


def install(wheels: Path, target: Path) -> None:
    """Install the packages into a folder, for this process and its children only.

    They take precedence over the machine's own versions, so call this before importing any of them.

    Args:
        wheels: the folder of wheels.
        target: the folder to install into.
    """
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*command, "--find-links", str(wheels), "--target", str(target), *PACKAGES], check=True)
    sys.path.insert(0, str(target))
    paths = [str(target), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))


if __name__ == "__main__":
    download(Path(sys.argv[1]))
