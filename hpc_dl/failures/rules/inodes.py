"""The number of files on a file system is exhausted."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Inodes(Rule):
    """What file systems say about files, not about space."""

    patterns = (
        r"(?i)user file limit reached|inode (?:quota|limit)|out of inodes",
        r"(?i)file (?:count )?quota exceeded|no (?:free )?inodes",
    )
    cause = "the number of files that you, or the file system, may have is exhausted"
    remedy = (
        "`df -i` shows it; delete runs with `hpc-dl remove`, pack many small files into one with "
        "`hpc-dl data pack`, or move runs with --runs (`runs_dir` in the site profile)"
    )
    keys = ("runs_dir",)
