"""A quota is used up: of space, or of the number of files."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Quota(Rule):
    """The error number EDQUOT."""

    patterns = (
        r"(?i)disk quota exceeded",
        r"\[Errno 122\]",
        r"errno = 122\b",
    )
    sources = ("log", "reason", "output")
    cause = "your quota on a file system is used up"
    remedy = (
        "`quota -s`, or your site's command for it, shows which one; delete runs with `hpc-dl "
        "remove`, or move them with --runs (`runs_dir` in the site profile); caches under $HOME are "
        "often the reason"
    )
    keys = ("runs_dir",)
