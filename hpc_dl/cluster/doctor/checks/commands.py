"""Slurm's commands on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from hpc_dl.cluster.doctor.check import Check, Finding, Situation

_NEEDED = {
    "sbatch": "Jobs cannot be submitted",
    "scontrol": "Jobs that reach their time limit cannot be requeued",
    "squeue": "`status` cannot say where a job is in the queue",
    "scancel": "`cancel` cannot end jobs",
}


class Commands(Check):
    """Which commands are missing."""

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one for each missing command, on sites with Slurm."""
        site = situation.site
        if site.scheduler == "local" or (site.scheduler == "auto" and not shutil.which("sbatch")):
            return
        for name, why in _NEEDED.items():
            if not shutil.which(name):
                yield Finding(f"{name} was not found", why, "work on a login node, or load your site's module of Slurm")
        if not shutil.which("sacct"):
            remedy = "ask your site whether it keeps accounts of jobs"
            yield Finding("sacct was not found", "`why` knows less about jobs that ended", remedy, fatal=False)
