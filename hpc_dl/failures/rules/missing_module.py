"""A module of the site (module load) does not exist."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class MissingModule(Rule):
    """Lmod's and Tcl modules' messages."""

    patterns = (
        r"following module\(s\) are unknown: \"?(?P<name>[^\"]+)",
        r"following module\(s\) (?:cannot be loaded|exist,? but cannot be loaded)[^\"]*(?:\"(?P<name>[^\"]+)\")?",
        r"module\(s\)(?: or extension\(s\))? exist,? but cannot be",
        r"Unable to locate a modulefile for '(?P<name>[^']+)'",
        r"module: (?:command )?not found",
        r"These module\(s\).*cannot be loaded",
    )
    sources = ("output", "log")
    cause = "the module {name} cannot be loaded on the node"
    remedy = (
        "correct `modules` in the site profile; `module avail` and `module spider` on the cluster "
        "list what exists, and where the command itself is missing `setup` can source it"
    )
    keys = ("modules", "setup")
