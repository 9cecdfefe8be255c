"""``hpc_dl.Sweep``: the runs of one experiment with many settings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_dl.api.frame import frame_of
from hpc_dl.api.run import Run
from hpc_dl.cluster.follow import wait_for
from hpc_dl.cluster.status import statuses
from hpc_dl.sweeps.cancel import cancel_sweep
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.ranking import RankedPoint, objective_of, ranked
from hpc_dl.sweeps.resumable import resume_sweep

Say = Callable[[str], None]


@dataclass(frozen=True)
class Sweep:
    """A sweep; iterating over it gives its runs.

    Attributes:
        folder: its files.
    """

    folder: SweepFolder

    @property
    def name(self) -> str:
        """Its name: that of the experiment with ``-sweep``."""
        return self.folder.name

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.folder.path

    def __iter__(self) -> Iterator[Run]:
        """Iterate over the runs of its members."""
        return map(Run, self.folder.runs())

    def __len__(self) -> int:
        """The number of members."""
        return len(self.folder.members())

    def status(self) -> list[dict[str, Any]]:
        """Return what each member is doing, with one query to Slurm for all."""
        return statuses(self.folder.runs())

    def wait(self) -> list[dict[str, Any]]:
        """Wait until all members have ended, also through requeues.

        Returns:
            As :meth:`status`; members may have failed.
        """
        return wait_for(self.folder.runs())

    def ranking(self) -> list[RankedPoint]:
        """Return the points with a finished member, best first, as ``hpc-dl best`` ranks them."""
        return ranked(self.folder, objective_of(self.folder), self.status())

    def cancel(self) -> list[Run]:
        """Stop all members that have not ended, and return them.

        Raises:
            ClusterError: Slurm refuses, or a member runs on another machine.
        """
        return [Run(folder) for folder in cancel_sweep(self.folder)]

    def resume(
        self, *, failed: bool = False, site: str | None = None, trust: bool = False, say: Say = print
    ) -> list[Run]:
        """Submit the members that have ended without a result again, from their checkpoints.

        Args:
            failed: whether only those that failed or were lost.
            site: the site profile, by name or file; default: that of the first submission.
            trust: whether the code of members that belong to another user may be run.
            say: gets messages for the user, one line each.

        Returns:
            The members that were submitted.

        Raises:
            HpcDlError: data or code of a member changed, or Slurm refuses.
        """
        runs, submitted, _ = resume_sweep(self.folder, site, only_failed=failed, trust=trust)
        if submitted and submitted.remedy:
            say(f"hpc-dl: {submitted.remedy}")
        return [Run(run) for run in runs]

    def frame(self, *, test: bool = False) -> Any:
        """Return the members as a table; see :meth:`hpc_dl.Runs.frame`."""
        return frame_of(self.folder.runs(), test=test)
