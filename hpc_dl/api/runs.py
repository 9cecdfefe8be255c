"""``hpc_dl.Runs``: the runs and sweeps of a folder, also as one table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpc_dl.api.frame import frame_of
from hpc_dl.api.run import Run
from hpc_dl.api.sweep import Sweep
from hpc_dl.cluster.folders import runs_folder
from hpc_dl.errors import RunError
from hpc_dl.runs.search import all_runs
from hpc_dl.sweeps.search import all_sweeps, find_run, find_sweep


class Runs:
    """All runs of a folder; those of sweeps belong to their :class:`hpc_dl.Sweep`.

    ::

        runs = Runs("runs")
        runs["latest"].wait()
        runs.frame().sort_values("val/loss")
    """

    def __init__(self, path: str | Path | None = None) -> None:
        """Read nothing yet.

        Args:
            path: the folder; default: the site's, ``$HPC_DL_RUNS`` or ``./runs``.
        """
        self.path = runs_folder(None if path is None else Path(path)).absolute()

    def __iter__(self) -> Iterator[Run]:
        """Iterate over the runs that are not members of a sweep, oldest first."""
        return map(Run, all_runs(self.path))

    def __len__(self) -> int:
        """The number of runs that are not members of a sweep."""
        return sum(1 for _ in all_runs(self.path))

    def __getitem__(self, name: str) -> Run:
        """Return a run.

        Args:
            name: its name, the beginning of it, or ``latest``; also of a sweep's member.

        Raises:
            RunError: no run matches, or several do.
        """
        return Run(find_run(name, self.path))

    @property
    def sweeps(self) -> list[Sweep]:
        """The sweeps, by name."""
        return [Sweep(folder) for folder in all_sweeps(self.path)]

    def sweep(self, name: str) -> Sweep:
        """Return a sweep.

        Args:
            name: its name: that of the experiment with ``-sweep``.

        Raises:
            RunError: there is no such sweep.
        """
        folder = find_sweep(name, self.path)
        if folder is None:
            known = ", ".join(sweep.name for sweep in self.sweeps)
            raise RunError.at(name, f"is not a sweep in {self.path}", allowed=known or "there are none")
        return Sweep(folder)

    def frame(self, *, test: bool = False) -> Any:
        """Return the runs as a table: ``run``, ``state``, the settings that differ, the metrics.

        Args:
            test: whether with the test metrics. To choose a run by them would bias them.

        Returns:
            A ``pandas.DataFrame`` with a row for each run, oldest first; a ``polars.DataFrame``
            where pandas is not installed.

        Raises:
            HpcDlError: neither is installed.
        """
        return frame_of([run.folder for run in self], test=test)
