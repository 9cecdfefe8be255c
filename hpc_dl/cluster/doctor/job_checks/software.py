"""Python, packages and modules on each node: are they the same?"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_PACKAGES = ("torch", "pytorch-lightning", "h5py", "numpy")
_MAY_DIFFER = ("modules", "kernel")  # without making a job fail


class Software(JobCheck):
    """Compares the nodes with each other."""

    why = "Ranks with different software fail, or do not compute the same"
    remedy = "load the same modules on all nodes (`modules` in the site profile), or use a `container`"
    once_per_node = True

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the versions."""
        return {
            "Python": platform.python_version(),
            "executable": sys.executable,
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
            "C library": " ".join(platform.libc_ver()),
            "kernel": platform.release(),
            "modules": os.environ.get("LOADEDMODULES", ""),
        }

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one for each kind of difference."""
        for name in measured[0].values:
            nodes: dict[str, list[str]] = {}
            for each in measured:
                nodes.setdefault(str(each.values.get(name)) or "none", []).append(each.node)
            if len(nodes) > 1:
                versions = "; ".join(f"{version} on {', '.join(where)}" for version, where in nodes.items())
                yield Finding(f"{name} differs: {versions}", self.why, self.remedy, fatal=name not in _MAY_DIFFER)
