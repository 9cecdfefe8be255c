"""What runs, their code, data sets and caches occupy, and what of it can go. Free of torch."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpc_dl.cluster.folders import cli_name
from hpc_dl.cluster.overview import RunOverview, overview
from hpc_dl.data import sources
from hpc_dl.runs.disk_usage import KINDS, DiskUsage, usage_of_folder, usage_of_run
from hpc_dl.runs.folder import CODE_STORE, RunFolder

#: Caches of the programs that hpc_dl uses: their variables, and where they are without them.
CACHES = {
    "HF_HOME": "~/.cache/huggingface",
    "TORCH_HOME": "~/.cache/torch",
    "PIP_CACHE_DIR": "~/.cache/pip",
    "WANDB_CACHE_DIR": "~/.cache/wandb",
    "APPTAINER_CACHEDIR": "~/.apptainer",
}
_WITHOUT_RESULT = ("failed", "lost", "cancelled", "diverged")
_MOST_NAMED = 5  # in one command


@dataclass
class DiskReport:
    """What occupies the disk.

    Attributes:
        parts: by what it is: the kinds of files of all runs, the code that they share, data sets.
        runs: one row for each run, the largest first: ``run``, ``state``, ``bytes``, ``files``.
        caches: by their folder; only those that exist.
        can_go: what can be deleted, and the command that does it.
    """

    parts: dict[str, DiskUsage] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)
    caches: dict[str, DiskUsage] = field(default_factory=dict)
    can_go: list[dict[str, Any]] = field(default_factory=list)


def disk_report(
    runs: Sequence[RunFolder], run_folders: Sequence[Path], data_dir: Path, environment: Mapping[str, str]
) -> DiskReport:
    """Return what occupies the disk, and what of it can go.

    Args:
        runs: all runs, members of sweeps included.
        run_folders: the folders that contain them: the one of all runs, and those of the sweeps.
        data_dir: the folder of the data files.
        environment: the user's variables, which may move a cache.
    """
    report, seen = DiskReport(), set[tuple[int, int]]()
    totals = dict.fromkeys(KINDS, DiskUsage())
    known = overview(runs)
    for run, one in zip(runs, known, strict=True):
        kinds = usage_of_run(run, seen)
        for kind, usage in kinds.items():
            totals[kind] += usage
        total = sum(kinds.values(), DiskUsage())
        name, state = cli_name(run), one.facts["state"]
        report.runs.append({"run": name, "state": state, "bytes": total.bytes, "files": total.files})
    report.runs.sort(key=lambda row: -row["bytes"])
    report.parts = {f"runs: {kind}": usage for kind, usage in totals.items() if usage.files}
    snapshots = sum((usage_of_folder(folder / CODE_STORE, seen) for folder in run_folders), DiskUsage())
    report.parts |= {"code of the runs": snapshots} if snapshots.files else {}
    if (data := usage_of_folder(data_dir, seen)).files:
        report.parts["data files"] = data
    for name, default in CACHES.items():
        folder = Path(environment.get(name) or default).expanduser()
        if (usage := usage_of_folder(folder, seen)).files:
            report.caches[str(folder)] = usage
    report.can_go = [*_runs_without_result(report.runs), *_data_that_can_be_made(data_dir, known)]
    return report


def _runs_without_result(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The runs that have ended without a result; ``rows`` are the largest first."""
    chosen = {row["run"]: int(row["bytes"]) for row in rows if row["state"] in _WITHOUT_RESULT}
    return _suggestion("hpc-dl remove", chosen, "run", "without a result")


def _data_that_can_be_made(data_dir: Path, runs: Sequence[RunOverview]) -> list[dict[str, Any]]:
    """Data sets that hpc_dl made and no run uses; none if a run's configuration cannot be read."""
    if not all(one.settings for one in runs):
        return []
    used = {str(one.settings.get("data.file")) for one in runs}
    paths = [sources.path_of(name, data_dir) for name in sources.names()]
    sizes = {str(path): path.stat().st_size for path in paths if path.is_file() and str(path.absolute()) not in used}
    largest_first = dict(sorted(sizes.items(), key=lambda item: -item[1]))
    return _suggestion("rm", largest_first, "data set", "that no run uses and `hpc-dl data make` can make again")


def _suggestion(command: str, sizes: Mapping[str, int], what: str, which: str) -> list[dict[str, Any]]:
    """The command for what can go, or for the largest of it; nothing without any."""
    if not sizes:
        return []
    named = list(sizes)[:_MOST_NAMED]
    some = f"  # the {_MOST_NAMED} largest" if len(sizes) > len(named) else ""
    return [
        {
            "what": f"{len(sizes)} {what}{'s' if len(sizes) > 1 else ''} {which}",
            "bytes": sum(sizes.values()),
            "command": f"{command} {' '.join(map(shlex.quote, named))}{some}",
        }
    ]
