"""A file may not be read or written."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Permission(Rule):
    """The error numbers EACCES, EPERM and EROFS."""

    patterns = (
        r"^PermissionError: \[Errno 1?3?1?\] .*?(?:'(?P<name>[^']+)')?$",
        r"^(?P<name>/\S+): (?:permission denied|operation not permitted|read-only file system)",
        r"(?P<name>/\S+): cannot be read: permission denied",
        r"^OSError: \[Errno 30\] Read-only file system(?:: '(?P<name>[^']+)')?",
        r"unable to open file.*errno = 13",
    )
    sources = ("log", "reason", "output")
    cause = "the run may not read or write {name}"
    remedy = (
        "ask the owner for access, choose another folder with --runs (`runs_dir`) or --data "
        "(`data_dir`), and in a container bind it with `container: {{binds: […]}}`"
    )
    keys = ("runs_dir", "data_dir", "container")
