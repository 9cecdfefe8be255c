"""Removing runs and sweeps: not while they run, and not what other runs need. Free of torch."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from hpc_dl.cluster.overview import RunOverview, overview
from hpc_dl.cluster.status import NO_RESPONSE
from hpc_dl.errors import Fault, HpcDlError, RunError
from hpc_dl.formatting import shortened
from hpc_dl.inference.model_task import ModelTask
from hpc_dl.runs.folder import SWEEP_FILE, RunFolder
from hpc_dl.runs.lock import holder_of
from hpc_dl.runs.predecessors import predecessors

_REMOVED = ".removed-"
_ACTIVE = ("pending", "running", "unknown")


def check_removable(runs: Sequence[RunFolder], all_runs: Sequence[RunFolder]) -> None:
    """Check that runs have ended and that no other run needs their files.

    Args:
        runs: those to be removed.
        all_runs: all runs that may need them.

    Raises:
        RunError: one line for each run that must stay.
    """
    going = set(runs)
    faults = [
        fault
        for run, seen in zip(runs, overview(runs), strict=True)
        if (fault := _fault_of_state(run, seen)) is not None
    ]
    places = {os.path.realpath(run.path): run for run in going}
    others = [run for run in all_runs if os.path.realpath(run.path) not in places]
    needed: dict[RunFolder, list[str]] = {}
    for other, seen in zip(others, overview(others), strict=True):
        for path in _needs(other, seen):
            real = Path(os.path.realpath(path))
            for place in places.keys() & {str(parent) for parent in (real, *real.parents)}:
                needed.setdefault(places[place], []).append(other.name)
    for run, names in needed.items():
        who = shortened(list(dict.fromkeys(names)), 5)
        faults.append(
            Fault(run.name, f"is needed by {who}: they start from it", remedy="remove them first, or together")
        )
    if faults:
        raise RunError(*faults)


def remove_folder(path: Path) -> None:
    """Delete a folder; an interrupted removal leaves a hidden one, which the next one deletes.

    Raises:
        OSError: it cannot be deleted.
    """
    if path.is_symlink():
        path.unlink()
        return
    path.rename(path.with_name(f"{_REMOVED}{path.name}-{secrets.token_hex(4)}"))
    for leaving in path.parent.glob(f"{_REMOVED}*"):
        # Another command may delete it, too, and NFS keeps open files; then the next removal does.
        with suppress(OSError):
            if leaving.stat().st_uid == os.geteuid():
                shutil.rmtree(leaving)


def size_of(folders: Iterable[Path]) -> int:
    """The bytes of all files below some folders; links are not followed."""
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(parent, name)).st_size
    return total


def _fault_of_state(run: RunFolder, seen: RunOverview) -> Fault | None:
    state, sweep = seen.facts["state"], run.path.parent
    is_member = os.path.isfile(sweep / SWEEP_FILE)
    waits = state == "created" and is_member  # a process may be about to start it
    if state in _ACTIVE or waits or holder_of(run) is not None:
        remedy = f"stop it first with `hpc-dl cancel {sweep.name if is_member else run.name}`"
        return Fault(run.name, "has not ended", value=state, remedy=remedy)
    if seen.facts.get("reason") == NO_RESPONSE:
        return Fault(run.name, "may still have a job: Slurm did not respond", remedy="try again in a minute")
    return None


def _needs(run: RunFolder, seen: RunOverview) -> Iterator[Path]:
    """The files and folders of others that a run starts from."""
    init_from = seen.settings.get("model.init_from")
    if isinstance(init_from, str):
        yield Path(init_from)
    if seen.facts["state"] != "finished":
        with suppress(HpcDlError, OSError):
            if (task := ModelTask.of(run)) is not None:
                yield task.trained
        with suppress(HpcDlError, OSError):
            yield from (other.path for other in predecessors(run))
