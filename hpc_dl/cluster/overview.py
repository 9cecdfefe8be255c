"""What many runs are doing, and their settings; ended ones come from an index. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hpc_dl.cluster.progress import progress_of, wandb_of
from hpc_dl.cluster.status import is_final, statuses
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.index import RunIndex
from hpc_dl.runs.labels import shown_labels
from hpc_dl.runs.run_files import read_result
from hpc_dl.runs.settings import settings_of
from hpc_dl.runs.state import read_state

_OF_PLACE = ("run", "dir")  # facts that depend on where the folder is


class RunOverview(NamedTuple):
    """One run.

    Attributes:
        facts: as :func:`hpc_dl.cluster.status.statuses` returns them, with its progress, its page
            in W&B, and ``tags`` and ``note`` where there are some.
        result: the single values of its result, such as ``seconds``; empty unless it has finished.
        settings: its configuration by dotted keys; empty if it cannot be read.
    """

    facts: dict[str, Any]
    result: dict[str, Any]
    settings: dict[str, Any]


def overview(runs: Sequence[RunFolder]) -> list[RunOverview]:
    """Return what runs are doing, with a single query to Slurm about those that have not ended.

    Args:
        runs: the runs.
    """
    indexes: dict[Path, RunIndex] = {}
    known: list[RunOverview | None] = []
    not_indexed: list[tuple[int, RunFolder, str]] = []
    for place, run in enumerate(runs):
        if (folder := run.path.parent) not in indexes:
            indexes[folder] = RunIndex(folder)
        stamp = indexes[folder].stamp(run)
        if (indexed := indexes[folder].get(run, stamp)) is not None:
            facts, settings = indexed
            of_place = {"run": run.name, "dir": str(run.path)}
            known.append(RunOverview(of_place | facts["status"], facts["result"], settings))
        else:
            known.append(None)
            not_indexed.append((place, run, stamp))
    read = statuses([run for _, run, _ in not_indexed])
    for (place, run, stamp), facts in zip(not_indexed, read, strict=True):
        settings = settings_of(run)
        facts |= shown_labels(run) | progress_of(run, facts, settings) | wandb_of(run, settings)
        found = RunOverview(facts, _single_values(run, facts), settings)
        if _has_ended_for_good(run, facts):
            status = {key: value for key, value in facts.items() if key not in _OF_PLACE}
            indexes[run.path.parent].add(run, stamp, {"status": status, "result": found.result}, settings)
        known[place] = found
    for index in indexes.values():
        index.save()
    return [one for one in known if one is not None]


def _has_ended_for_good(run: RunFolder, facts: dict[str, Any]) -> bool:
    """Whether the facts follow from the run's own files alone, not from Slurm or this command."""
    if facts["state"] in ("failed", "diverged"):
        return is_final(read_state(run)) and not run.cancelled.exists()
    return bool(facts["state"] == "finished")


def _single_values(run: RunFolder, facts: dict[str, Any]) -> dict[str, Any]:
    if facts["state"] != "finished":
        return {}
    return {key: value for key, value in read_result(run).items() if not isinstance(value, dict | list)}
