"""The metrics of the baselines on a data set, stored with the runs."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import write_json
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder

_FOLDER = "baselines"


def path_of(runs: Path, identity: dict[str, Any]) -> Path:
    """The file with the baselines of a data set.

    Args:
        runs: folder of all runs.
        identity: what makes results comparable: checksum, task, sizes of the splits; and the name.
    """
    comparable = repr(sorted((key, identity[key]) for key in ("checksum", "task", "sizes")))
    return runs / _FOLDER / f"{identity['name']}-{hashlib.sha256(comparable.encode()).hexdigest()[:12]}.json"


def save(runs: Path, identity: dict[str, Any], baselines: dict[str, Any]) -> Path:
    """Write the baselines of a data set, and return the file's path."""
    path = path_of(runs, identity)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, baselines)
    return path


def load(run: RunFolder, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Read the baselines for the data of a run; ``None`` if there are none yet."""
    baselines: dict[str, Any] | None = read_json(path_of(run.path.parent, identity))
    return baselines
