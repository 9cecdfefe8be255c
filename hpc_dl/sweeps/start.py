"""Starting what a sweep has planned: create the new members, then submit them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hpc_dl.cluster.submit import MaybeQueued
from hpc_dl.sweeps.preparation import Plan, create, discard, record
from hpc_dl.sweeps.submission import Submitted, submit_members

if TYPE_CHECKING:
    from hpc_dl.cluster.site import SiteProfile


def start(plan: Plan, site: SiteProfile, data_dir: Path | None) -> Submitted:
    """Create and submit the new members of a sweep; without any, only record what was asked for.

    Args:
        plan: the sweep.
        site: the site profile.
        data_dir: folder of the shipped data sources; ``None`` for the default.

    Returns:
        As :func:`hpc_dl.sweeps.submission.submit_members`.

    Raises:
        HpcDlError: the members cannot be created, or Slurm refuses all of them; none is left then.
        MaybeQueued: it is unknown whether Slurm accepted them; they are left.
    """
    with plan.sweep.locked():
        if not plan.new:
            record(plan)
            return Submitted([], [])
        created = create(plan, site)
        if not created:  # all are copies of finished runs
            return Submitted([], [])
        try:
            return submit_members(plan.sweep, created, plan.config, plan.new[0].member.experiment, site, data_dir)
        except BaseException as error:
            if not isinstance(error, MaybeQueued) and not any(run.job.exists() for run in created):
                discard(plan)
            raise
