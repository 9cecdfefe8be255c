"""The runs that a command works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hpc_dl.runs.folder import RunFolder


def select_run(name: str, runs: Path | None) -> RunFolder:
    """Return the run that the user means.

    Args:
        name: a name, an unambiguous prefix, a run folder, or ``latest``.
        runs: the value of ``--runs``.

    Raises:
        RunError: no run matches, or several do.
    """
    from hpc_dl.cluster.folders import runs_folder
    from hpc_dl.runs.search import find

    return find(name, runs_folder(runs))


def select_runs(names: list[str] | None, runs: Path | None) -> list[RunFolder]:
    """Return the runs that the user means; without names, all runs.

    Args:
        names: each as for :func:`select_run`.
        runs: the value of ``--runs``.

    Raises:
        RunError: no run matches a name, or several do.
    """
    from hpc_dl.cli.output import say
    from hpc_dl.cluster.folders import runs_folder
    from hpc_dl.runs.search import all_runs

    if names:
        return [select_run(name, runs) for name in names]
    selected = list(all_runs(runs_folder(runs)))
    if not selected:
        say(f"There are no runs in {runs_folder(runs).absolute()}.")
    return selected
