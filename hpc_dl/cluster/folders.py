"""The folders of runs and of data, decided here for every command; free of torch.

In this order: the command's option (``--runs``, ``--data``); the site profile (``--site``,
``$HPC_DL_SITE``); the variable ``$HPC_DL_RUNS`` or ``$HPC_DL_DATA``; ``./runs`` or ``./data``.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from hpc_dl.cluster import site
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.data.sources import default_data_dir
from hpc_dl.errors import HpcDlError
from hpc_dl.runs.folder import SWEEP_FILE, RunFolder


def runs_folder(option: Path | None = None, profile: SiteProfile | None = None) -> Path:
    """Return the folder of all runs.

    Args:
        option: the value of ``--runs``.
        profile: the site's profile; ``None`` for the default site's.

    Raises:
        ConfigError: the default site's profile is invalid, or its folder has an unset variable.
    """
    return option or (profile or site.load(None)).runs() or _default_runs()


def data_folder(option: Path | None = None, profile: SiteProfile | None = None) -> Path:
    """Return the folder of the data files.

    Args:
        option: the value of ``--data``.
        profile: as for :func:`runs_folder`.

    Raises:
        ConfigError: as :func:`runs_folder`.
    """
    return option or (profile or site.load(None)).data() or default_data_dir()


def cli_name(run: RunFolder) -> str:
    """Return the argument that names a run in a command: its name, or its path if need be.

    Commands find a run by its name in the folder of all runs only.
    """
    try:
        folder = run.path.parent
        in_sweep = os.path.isfile(folder / SWEEP_FILE)  # members are found by their names, too
        found_by_name = (folder.parent if in_sweep else folder) == runs_folder().absolute()
    except HpcDlError:  # an invalid site profile, which the command would report
        found_by_name = False
    return shlex.quote(run.name if found_by_name else str(run.path))


def _default_runs() -> Path:
    return Path(os.environ.get("HPC_DL_RUNS") or "runs").expanduser()
