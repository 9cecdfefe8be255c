"""Where Python finds the code of a run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_provenance

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


def import_folders(run: RunFolder, experiment: Experiment) -> tuple[str, str | None]:
    """Return the folders to put before and after the PYTHONPATH of a run.

    The snapshot comes first. For a user's own code the folder where it was taken comes last, so
    that modules missing from the snapshot are found there but never replace those in it.

    Args:
        run: the run.
        experiment: the experiment.
    """
    is_own = experiment.model.import_paths or experiment.data.import_paths
    return str(run.code), str(folder_of_own_code(run)) if is_own else None


def folder_of_own_code(run: RunFolder) -> Path:
    """Return where a run was prepared, or its code last updated; else the current folder."""
    updates = [event["folder"] for event in history(run) if isinstance(event.get("folder"), str)]
    folder = updates[-1] if updates else read_provenance(run).get("folder")
    return Path(folder) if isinstance(folder, str) and os.path.isdir(folder) else Path.cwd()
