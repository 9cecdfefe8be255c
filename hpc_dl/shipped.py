"""Files that come with hpc_dl: example experiments, site profiles, the sbatch template.

A clone has them next to the package; the wheel carries a copy inside, made when it is built.
"""

from __future__ import annotations

from pathlib import Path

_IN_WHEEL = Path(__file__).with_name("shipped_files")


def path(name: str) -> Path:
    """The path of a shipped file or folder, named as in the repository (``slurm/train.sbatch``)."""
    return (_IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parent.parent) / name


def experiments() -> dict[str, Path]:
    """The YAML file of each example experiment, by its name (``cnn-digits``)."""
    return {file.stem: file for file in sorted(path("configs").glob("*.yaml"))}
