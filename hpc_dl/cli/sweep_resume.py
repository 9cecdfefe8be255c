"""``hpc-dl resume SWEEP``: resubmit the members of a sweep that have no result."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpc_dl.sweeps.folder import SweepFolder


def resume_sweep(sweep: SweepFolder, site: str | None, *, only_failed: bool, yes: bool, as_json: bool) -> None:
    """Submit members again, each from its newest checkpoint.

    Args:
        sweep: the sweep.
        site: the value of ``--site``.
        only_failed: whether only those that failed or were lost.
        yes: whether the user agrees to run the code of another user's run folder.
        as_json: whether stdout gets one JSON document.

    Raises:
        HpcDlError: data or code of a member changed, or Slurm refuses.
    """
    with sweep.locked():  # two commands at once would submit the same members twice
        _resume(sweep, site, only_failed=only_failed, yes=yes, as_json=as_json)


def _resume(sweep: SweepFolder, site: str | None, *, only_failed: bool, yes: bool, as_json: bool) -> None:
    from hpc_dl.cli.output import LOADING, emit, say
    from hpc_dl.cluster import site as sites
    from hpc_dl.runs.trust import check_trusted
    from hpc_dl.sweeps.resumable import resumable_members

    runs = resumable_members(sweep, only_failed=only_failed)
    kind = "failed or were lost" if only_failed else "ended without a result"
    if not runs:
        say(f"{sweep.name} has no members that {kind}.")
        if as_json:
            emit({"sweep": sweep.name, "runs": [], "submissions": [], "left": []})
        return
    for run in runs:
        check_trusted(run, "resuming it runs its code and loads all objects in its checkpoint", yes=yes)
    profile = sites.load(site or (str(runs[0].site) if runs[0].site.exists() else None))
    say(LOADING)
    from hpc_dl.sweeps.resume import resume_members

    submitted = resume_members(sweep, runs, profile, sys.argv)
    left = set(submitted.left)
    again = [run.name for run in runs if run not in left]
    if as_json:
        emit(
            {
                "sweep": sweep.name,
                "runs": again,
                "submissions": submitted.submissions,
                "left": [run.name for run in submitted.left],
            }
        )
    say(f"Submitted {len(again)} of {len(sweep.members())} members of {sweep.name} again: those that {kind}")
    if submitted.remedy:
        say(f"hpc-dl: {submitted.remedy}")
