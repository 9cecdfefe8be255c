"""Space and number of files on the file systems of runs and data."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hpc_dl.cluster.doctor.check import Check, Finding, Situation
from hpc_dl.cluster.inspection.storage import existing_folder, in_time

_LEAST_GIB, _LEAST_INODES = 2.0, 2000


class DiskSpace(Check):
    """What is free for new runs."""

    def findings(self, situation: Situation) -> Iterator[Finding]:
        """Yield one for each kind of space that runs out."""
        path = situation.runs_dir.absolute()
        status = in_time(lambda: os.statvfs(existing_folder(path)))
        if status is None:
            remedy = "try again, or choose another folder with `runs_dir` in the site profile"
            yield Finding(f"the file system of {path} does not respond", "Runs could not be written", remedy)
            return
        free_gib = status.f_bavail * status.f_frsize / 2**30
        remedy = "run `hpc-dl remove RUN` for old runs, or set `runs_dir` in the site profile to another folder"
        if free_gib < _LEAST_GIB:
            yield Finding(f"only {free_gib:.1f} GiB are free for {path}", "Checkpoints could not be written", remedy)
        if status.f_files and status.f_favail < _LEAST_INODES:
            what = f"only {status.f_favail} more files are possible in {path}"
            yield Finding(what, "A run has dozens of files", remedy)
