"""A network file system failed."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class FileSystem(Rule):
    """The error numbers EIO, ESTALE and ENOTCONN."""

    patterns = (
        r"(?i)stale (?:NFS )?file handle",
        r"(?i)input/output error",
        r"(?i)transport endpoint is not connected",
        r"(?i)remote i/o error|Cannot send after transport endpoint shutdown",
    )
    sources = ("log", "reason", "output")
    cause = "a file system failed under the run"
    remedy = (
        "resume the run when it works again (`ls` the path that the message names); if it happens on "
        "one node only, leave that out with `sbatch: {{exclude: NODE}}` in the site profile"
    )
    keys = ("sbatch",)
