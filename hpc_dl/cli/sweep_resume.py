"""``hpc-dl resume SWEEP``: resubmit the members of a sweep that have no result."""

from __future__ import annotations

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
    from hpc_dl.cli.output import LOADING, emit, say
    from hpc_dl.formatting import shortened
    from hpc_dl.sweeps import resumable

    runs, submitted, waiting = resumable.resume_sweep(
        sweep, site, only_failed=only_failed, trust=yes, before_loading=lambda: say(LOADING)
    )
    kind = "failed or were lost" if only_failed else "ended without a result"
    if as_json:
        emit(
            {
                "sweep": sweep.name,
                "runs": [run.name for run in runs],
                "submissions": submitted.submissions if submitted else [],
                "left": [run.name for run in submitted.left] if submitted else [],
                "waiting": [run.name for run in waiting],
            }
        )
    if submitted:
        say(f"Submitted {len(runs)} of {len(sweep.members())} members of {sweep.name} again: those that {kind}")
    else:
        say(f"{sweep.name} has no members that {kind}{' and can be submitted' if waiting else ''}.")
    if waiting:
        say(
            f"Left out: {shortened([run.name for run in waiting], 5)}, cancelled before their turn in a job that still "
            "runs other members. Resume the sweep again when that job has ended."
        )
    if submitted and submitted.remedy:
        say(f"hpc-dl: {submitted.remedy}")
