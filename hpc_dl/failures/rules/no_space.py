"""A disk is full."""

from __future__ import annotations

import re

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule

_PATH = re.compile(r"(?:No space left on device|no space left on device)(?:: |.*?name = )'(?P<path>[^']+)'", re.I)
_FAULT = re.compile(r"^(?P<path>/[^:]+): no space left on device")


class NoSpace(Rule):
    """The error number ENOSPC, of Python, HDF5 or a shell; not that of /dev/shm."""

    patterns = (r"(?i)^(?!.*(?:/dev/shm|/torch_)).*no space left on device",)
    sources = ("log", "reason", "output")

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Name the place, if the message does."""
        text = finding.line.message
        match = _PATH.search(text) or _FAULT.search(text)
        path = match["path"] if match else ""
        where = f" at {path}" if path else ""
        folder = path.rpartition("/")[0] or str(evidence.run.path)
        return Advice(
            f"there is no space left{where}",
            f"free some (`df -h {folder}` shows the space, `df -i {folder}` the number of files), or move runs with "
            "--runs (`runs_dir` in the site profile); `hpc-dl remove` deletes runs",
            ("runs_dir",),
        )
