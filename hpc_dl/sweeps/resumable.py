"""Which members of a sweep can be submitted again; torch is imported only if there are any."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

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


class Resumable(NamedTuple):
    """Members of a sweep that ended without a result.

    Attributes:
        ready: can be submitted.
        waiting: were cancelled before their turn in a job, or a process of this machine, that still
            runs other members.
    """

    ready: list[RunFolder]
    waiting: list[RunFolder]


class Resumed(NamedTuple):
    """What became of the members that ended without a result.

    Attributes:
        runs: the members that were submitted.
        submitted: Slurm's answer; ``None`` if no member was ready.
        waiting: as in :class:`Resumable`.
    """

    runs: list[RunFolder]
    submitted: Submitted | None
    waiting: list[RunFolder]


def resume_sweep(
    sweep: SweepFolder,
    site: str | None,
    *,
    only_failed: bool,
    trust: bool,
    before_loading: Callable[[], None] = lambda: None,
) -> Resumed:
    """Submit members again that have no result, each from its newest checkpoint.

    Args:
        sweep: the sweep.
        site: the site profile; ``None`` for that of the first submission.
        only_failed: as for :func:`resumable_members`.
        trust: whether the user agrees to run the code of another user's run folder.
        before_loading: called before imports that take seconds.

    Raises:
        HpcDlError: data or code of a member changed, or Slurm refuses.
    """
    with sweep.locked():  # two commands at once would submit the same members twice
        runs, waiting = resumable_members(sweep, only_failed=only_failed)
        if not runs:
            return Resumed([], None, waiting)
        for run in runs:
            check_trusted(run, "resuming it runs its code and loads all objects in its checkpoint", yes=trust)
        profile = sites.load(site or (str(runs[0].site) if runs[0].site.exists() else None))
        before_loading()
        from hpc_dl.sweeps.resume import resume_members

        submitted = resume_members(sweep, runs, profile, sys.argv)
        left = set(submitted.left)
        return Resumed([run for run in runs if run not in left], submitted, waiting)


def resumable_members(sweep: SweepFolder, *, only_failed: bool) -> Resumable:
    """Return the members that have ended without a result.

    Args:
        sweep: the sweep.
        only_failed: whether to leave out those that stopped, diverged or were cancelled.
    """
    states = _FAILED if only_failed else _UNFINISHED
    runs = sweep.runs()
    ended = [run for run, facts in zip(runs, statuses(runs), strict=True) if facts["state"] in states]
    later = reached_later(ended)
    return Resumable([run for run in ended if run not in later], [run for run in ended if run in later])
