"""The site profile: does it agree with today's cluster?"""

from __future__ import annotations

from collections.abc import Iterator

from hpc_dl.cluster.doctor.check import Check, Finding, Situation
from hpc_dl.cluster.inspection.check import check
from hpc_dl.cluster.site import SiteProfile


class Profile(Check):
    """What ``hpc-dl site check`` finds."""

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one for each key that does not agree, or one if there is no profile."""
        if situation.facts is None:
            return
        if situation.site == SiteProfile():
            why = "Slurm's defaults decide about partition and account, and ./runs and ./data are used"
            yield Finding("no site profile is chosen", why, "run `hpc-dl site init`", fatal=False)
        for fault in check(situation.site, situation.facts).faults:
            allowed = f" (allowed: {fault.allowed})" if fault.allowed else ""
            what = f"{fault.where}: {fault.problem}, {fault.value!r}{allowed}"
            yield Finding(what, "The job would be refused, wait forever or fail", fault.remedy or "correct the profile")
