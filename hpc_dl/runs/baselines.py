"""What simple models reached on a data set: kept beside the runs, for every result to be compared
with.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.runs.folder import RunFolder

_FOLDER = "baselines"


def path_of(runs: Path, data: dict[str, Any]) -> Path:
    """The file of a data set.

    Args:
        runs: folder of all runs.
        data: what decides who may be compared with whom: checksum, task, sizes of the splits.
    """
    told = repr(sorted((key, data[key]) for key in ("checksum", "task", "sizes")))
    return runs / _FOLDER / f"{data['name']}-{hashlib.sha256(told.encode()).hexdigest()[:12]}.json"


def keep(runs: Path, data: dict[str, Any], found: dict[str, Any]) -> Path:
    """Write what was found; the file's path."""
    path = path_of(runs, data)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, found)
    return path


def of_run(run: RunFolder, data: dict[str, Any]) -> dict[str, Any] | None:
    """What is known for the data of a run, or None."""
    found: dict[str, Any] | None = read_json(path_of(run.path.parent, data))
    return found
