"""The runs that a command works on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from hpc_dl.runs.folder import RunFolder


def runs_folder(runs: Path | None) -> Path:
    """Return the folder of all runs.

    Args:
        runs: the value of ``--runs``; without it, the default site's folder, else
            ``$HPC_DL_RUNS`` or ``runs`` in the current folder.

    Raises:
        ConfigError: the default site's profile is invalid.
    """
    from hpc_dl.cluster import site
    from hpc_dl.runs.folder import default_runs

    return runs or site.load(None).runs() or default_runs()


def select_run(name: str, runs: Path | None) -> RunFolder:
    """Return the run that the user means.

    Args:
        name: a name, an unambiguous prefix, a run folder, or ``latest``.
        runs: as for :func:`runs_folder`.

    Raises:
        RunError: no run matches, or several do.
    """
    from hpc_dl.runs.search import find

    return find(name, runs_folder(runs))


def select_runs(names: list[str] | None, runs: Path | None) -> list[RunFolder]:
    """Return the runs that the user means; without names, all runs.

    Args:
        names: each as for :func:`select_run`.
        runs: as for :func:`runs_folder`.

    Raises:
        RunError: no run matches a name, or several do.
    """
    from hpc_dl.cli.output import say
    from hpc_dl.runs.search import all_runs

    if names:
        return [select_run(name, runs) for name in names]
    selected = list(all_runs(runs_folder(runs)))
    if not selected:
        say(f"There are no runs in {runs_folder(runs).absolute()}.")
    return selected
