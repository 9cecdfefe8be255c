"""Whether members of a sweep were trained by another version of hpc_dl; free of torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import hpc_dl
from hpc_dl.errors import HpcDlError
from hpc_dl.formatting import shortened
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.provenance import commits
from hpc_dl.runs.run_files import read_provenance
from hpc_dl.sweeps.folder import SweepFolder

_COMMIT_DIGITS = 7


def other_version(sweep: SweepFolder, existing: Sequence[str]) -> str:
    """Return one line about the members that another version of hpc_dl created; "" without any.

    Args:
        sweep: the sweep.
        existing: the names of its members that have a run.
    """
    versions: dict[str, str] = {}  # by the snapshot of the code, which most members share
    counts: Counter[str] = Counter()
    for name in existing:
        run = RunFolder(sweep.path / name)
        with suppress(HpcDlError, OSError):  # what is damaged is not compared
            snapshot = os.readlink(run.code)
            if snapshot not in versions:
                facts = read_provenance(run)
                versions[snapshot] = _version(facts.get("hpc_dl"), (facts.get("git") or {}).get("hpc_dl"))
            counts[versions[snapshot]] += 1
    now = _version(hpc_dl.__version__, commits()["hpc_dl"]) if counts else ""
    others = {version: count for version, count in counts.items() if version != now}
    if not others:
        return ""
    return (
        f"{sum(others.values())} of the {len(existing)} members that exist are of another version of hpc_dl: "
        f"{shortened(list(others), 3)}; now it is {now}. They stay valid."
    )


def _version(number: Any, git: Any) -> str:
    """The version, with the commit where the package is under version control."""
    if not isinstance(git, dict) or not isinstance(git.get("commit"), str):
        return str(number)
    changed = " with changes" if git.get("dirty") else ""
    return f"{number} (commit {git['commit'][:_COMMIT_DIGITS]}{changed})"
