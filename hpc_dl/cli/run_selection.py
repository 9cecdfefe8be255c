"""The runs that a command works on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from hpc_dl.runs.folder import RunFolder
    from hpc_dl.sweeps.folder import SweepFolder


def with_record(rows: list[dict[str, Any]], key: str, what: str) -> list[dict[str, Any]]:
    """Return the rows that have a key, and say which runs have not recorded it.

    Args:
        rows: one for each run.
        key: what only runs have that recorded it.
        what: the same in words, for the message.
    """
    from hpc_dl.cli.output import say

    for row in rows:
        if key not in row:
            say(f"{row['run']}: has not recorded {what}")
    return [row for row in rows if key in row]


def select_run(name: str, runs: Path | None) -> RunFolder:
    """Return the run that the user means.

    Args:
        name: a name, an unambiguous prefix, a run folder, or ``latest``; also of a sweep's member.
        runs: the value of ``--runs``.

    Raises:
        RunError: no run matches, or several do.
    """
    from hpc_dl.cluster.folders import runs_folder
    from hpc_dl.sweeps.search import find_run

    return find_run(name, runs_folder(runs))


def select_runs(names: list[str] | None, runs: Path | None) -> list[RunFolder]:
    """Return the runs that the user means; without names, all runs that are not members of a sweep.

    Args:
        names: each as for :func:`select_run`, or a sweep, which stands for all of its members.
        runs: the value of ``--runs``.

    Raises:
        RunError: no run matches a name, or several do.
    """
    from hpc_dl.cli.output import say
    from hpc_dl.cluster.folders import runs_folder
    from hpc_dl.runs.search import all_runs
    from hpc_dl.sweeps.search import all_sweeps, find_sweep

    folder = runs_folder(runs)
    if names:
        chosen: list[RunFolder] = []
        for name in names:
            sweep = find_sweep(name, folder)
            chosen += [select_run(name, runs)] if sweep is None else sweep.runs()
        return chosen
    selected = list(all_runs(folder))
    sweeps = all_sweeps(folder)
    if sweeps:
        described = ", ".join(f"{sweep.name} ({_size(sweep)})" for sweep in sweeps)
        say(f"Sweeps and their number of runs: {described}. Name one to see its runs.")
    elif not selected:
        say(f"There are no runs in {folder.absolute()}.")
    return selected


def select_sweep(name: str, runs: Path | None) -> SweepFolder | None:
    """Return the sweep that the user names; ``None`` if it is not the name of a sweep.

    Args:
        name: the sweep's name or folder.
        runs: the value of ``--runs``.
    """
    from hpc_dl.cluster.folders import runs_folder
    from hpc_dl.sweeps.search import find_sweep

    return find_sweep(name, runs_folder(runs))


def _size(sweep: SweepFolder) -> str:
    from hpc_dl.errors import HpcDlError

    try:
        return str(len(sweep.members()))
    except (HpcDlError, OSError):  # the other sweeps and runs are shown
        return "unreadable"
