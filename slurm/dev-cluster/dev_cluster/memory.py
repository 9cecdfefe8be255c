"""Limits of memory: enforced by the kernel's cgroups where this machine lets us create them.

Slurm's plugin for version 2 of cgroups needs systemd, which containers rarely have. So only a
writable hierarchy of version 1 is used. Without one a job can use more memory than it requested.
"""

from __future__ import annotations

import contextlib
import os
import pathlib

from dev_cluster.cluster import Cluster

_HIERARCHY = pathlib.Path("/sys/fs/cgroup/memory")


def is_enforceable() -> bool:
    """Whether we may create cgroups of version 1 that limit memory."""
    if not (_HIERARCHY / "memory.limit_in_bytes").exists():
        return False
    probe = _HIERARCHY / f"hpc_dl-dev-cluster-{os.getpid()}"
    try:
        probe.mkdir()
        probe.rmdir()
    except OSError:
        return False
    return True


def cgroup_conf(slurm_version: tuple[int, int]) -> str:
    """Return the text of cgroup.conf."""
    if is_enforceable():
        return "CgroupPlugin=cgroup/v1\nConstrainRAMSpace=yes\n"
    # slurmd loads a cgroup plugin even if none is used; v1 works without any cgroups.
    return f"CgroupPlugin={'disabled' if slurm_version >= (24, 5) else 'cgroup/v1'}\n"


def remove_cgroups(cluster: Cluster) -> None:
    """Remove the cgroups that slurmd leaves behind; those with processes stay."""
    for node in cluster.nodes:
        top = _HIERARCHY / f"slurm_{node}"
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(folder)
