"""Quotas of space and of files: how much of them is used."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from hpc_dl.cluster.doctor.check import Check, Finding, Situation
from hpc_dl.cluster.inspection.quotas import Quota, quotas
from hpc_dl.cluster.inspection.storage import existing_folder, in_time
from hpc_dl.runs.provenance import user

_MOST = 0.9


class Quotas(Check):
    """The user's, on all file systems; the group's and the project's on those of runs and data."""

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one for each quota of which more than 90 % is used."""
        folders = dict.fromkeys(
            in_time(partial(existing_folder, path.absolute()))
            for path in (situation.runs_dir, situation.data_dir, Path.home())
        )
        for quota in quotas([folder for folder in folders if folder], user()):
            if quota.share > _MOST:
                yield Finding(
                    f"{_described(quota)}, {quota.share:.0%} of the quota",
                    "Runs fail when they cannot write a checkpoint or a log",
                    "see what can go with `hpc-dl disk`, or set `runs_dir` in the site profile to another file system",
                    fatal=quota.share >= 1,
                )


def _described(quota: Quota) -> str:
    if quota.kind == "files":
        return f"{quota.where}: {quota.used:,.0f} of {quota.limit:,.0f} files"
    return f"{quota.where}: {quota.used / 2**30:,.1f} of {quota.limit / 2**30:,.1f} GiB"
