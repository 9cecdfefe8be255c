"""Whether a run can be resumed, found out before torch is imported."""

from __future__ import annotations

from typing import Any

from hpc_dl.cluster.folders import cli_name
from hpc_dl.cluster.status import status
from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.lock import holder_of


def check_resumable(run: RunFolder) -> dict[str, Any]:
    """Check that a run can be resumed.

    Returns:
        Its status.

    Raises:
        RunError: it is running or pending, or Slurm does not report whether it is.
    """
    facts = status(run)
    state = facts["state"]
    if state not in ("pending", "running", "unknown") and (holder := holder_of(run)) is not None:
        raise RunError.at(run.name, f"is still running in {holder}", remedy="wait for it, or end that process")
    if state == "unknown":
        raise RunError.at(
            run.name,
            f"may still be queued or running ({facts['job']}): {facts['reason']}",
            remedy=f"wait until Slurm reports its end, or stop it first: hpc-dl cancel {cli_name(run)}",
        )
    if state in ("pending", "running"):
        unsure = "; it is unknown whether it still is" if "did not respond" in facts.get("reason", "") else ""
        raise RunError.at(
            run.name, f"is {state} ({facts['job']}){unsure}", remedy=f"stop it first: hpc-dl cancel {cli_name(run)}"
        )
    return facts
