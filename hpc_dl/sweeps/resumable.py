"""Which members of a sweep can be submitted again; torch is imported only if there are any."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from hpc_dl.cluster import site as sites
from hpc_dl.cluster.resumable import reached_later
from hpc_dl.cluster.status import statuses
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.trust import check_trusted
from hpc_dl.sweeps.folder import SweepFolder

if TYPE_CHECKING:
    from hpc_dl.sweeps.submission import Submitted

_FAILED = ("failed", "lost")
_UNFINISHED = (*_FAILED, "diverged", "stopped", "cancelled", "created")


def resume_sweep(
    sweep: SweepFolder,
    site: str | None,
    *,
    only_failed: bool,
    trust: bool,
    before_loading: Callable[[], None] = lambda: None,
) -> tuple[list[RunFolder], Submitted | None]:
    """Submit members again that have no result, each from its newest checkpoint.

    Args:
        sweep: the sweep.
        site: the site profile; ``None`` for that of the first submission.
        only_failed: as for :func:`resumable_members`.
        trust: whether the user agrees to run the code of another user's run folder.
        before_loading: called before imports that take seconds.

    Returns:
        The members that were submitted, and the answer of Slurm; ``None`` without such members.

    Raises:
        HpcDlError: data or code of a member changed, or Slurm refuses.
    """
    with sweep.locked():  # two commands at once would submit the same members twice
        runs = resumable_members(sweep, only_failed=only_failed)
        if not runs:
            return [], None
        for run in runs:
            check_trusted(run, "resuming it runs its code and loads all objects in its checkpoint", yes=trust)
        profile = sites.load(site or (str(runs[0].site) if runs[0].site.exists() else None))
        before_loading()
        from hpc_dl.sweeps.resume import resume_members

        submitted = resume_members(sweep, runs, profile, sys.argv)
        left = set(submitted.left)
        return [run for run in runs if run not in left], submitted


def resumable_members(sweep: SweepFolder, *, only_failed: bool) -> list[RunFolder]:
    """Return the members that have ended without a result and that no job or process will reach.

    Args:
        sweep: the sweep.
        only_failed: whether to leave out those that stopped, diverged or were cancelled.
    """
    states = _FAILED if only_failed else _UNFINISHED
    runs = sweep.runs()
    ended = [run for run, facts in zip(runs, statuses(runs), strict=True) if facts["state"] in states]
    later = reached_later(ended)
    return [run for run in ended if run not in later]
