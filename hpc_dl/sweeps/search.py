"""Finding sweeps and their members in the folder of all runs; free of torch."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from hpc_dl.errors import HpcDlError, RunError
from hpc_dl.runs.folder import SWEEP_FILE, RunFolder
from hpc_dl.runs.search import find
from hpc_dl.sweeps.folder import SweepFolder


def all_sweeps(runs: Path) -> list[SweepFolder]:
    """Return the sweeps in a folder, by name."""
    try:
        with os.scandir(runs) as entries:
            visible = [entry.path for entry in entries if not entry.name.startswith(".")]
    except OSError:  # the search for runs reports it
        return []
    folders = sorted(path for path in visible if os.path.isfile(f"{path}/{SWEEP_FILE}"))
    return [SweepFolder(Path(path).absolute()) for path in folders]


def find_sweep(name: str, runs: Path) -> SweepFolder | None:
    """Return the sweep that a user names by its name or its folder, if it is one.

    Args:
        name: as typed.
        runs: folder of all runs.
    """
    for path in (runs / name, Path(name)):
        sweep = SweepFolder(path.absolute())
        if name and sweep.exists:
            return sweep
    return None


def find_run(name: str, runs: Path) -> RunFolder:
    """Return the run that a user means, also if it is a member of a sweep.

    Args:
        name: a name, an unambiguous prefix, a run folder, or ``latest``.
        runs: folder of all runs.

    Raises:
        RunError: no run matches, or several do.
    """
    if (sweep := find_sweep(name, runs)) is not None:
        raise RunError.at(
            name, f"is a sweep of {len(sweep.members())} runs", remedy=f"name one; `hpc-dl status {name}` lists them"
        )
    try:
        return find(name, runs)
    except RunError:
        members = find_members(name, runs)
        if len(members) != 1:
            raise
        return members[0].checked()


def members_of(sweep: SweepFolder) -> list[RunFolder]:
    """Return the members of a sweep; none if their list is damaged or cannot be read."""
    with contextlib.suppress(HpcDlError, OSError):
        return sweep.runs()
    return []


def find_members(name: str, runs: Path) -> list[RunFolder]:
    """Return the members of all sweeps that a user may mean: the one of that name, or by prefix.

    Args:
        name: the name of a member's run, or the beginning of it.
        runs: folder of all runs.

    A sweep whose list of members is damaged has none.
    """
    members = [run for sweep in all_sweeps(runs) for run in members_of(sweep)]
    exact = [run for run in members if run.name == name]
    return exact or [run for run in members if name and run.name.startswith(name)]
