"""A compiled package is too new for the system libraries of the node."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Glibc(Rule):
    """What the dynamic linker says about a version."""

    patterns = (r"version `(?P<name>(?:GLIBC|GLIBCXX|CXXABI|GCC)_[\w.]+)' not found",)
    cause = "the node's system libraries are older than a package needs ({name})"
    remedy = "load a newer compiler or Python in `modules` of the site profile, or run in a container (`container`)"
    keys = ("modules", "container")
