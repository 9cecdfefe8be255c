"""Finding runs in the folder of all runs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from hpc_dl.errors import RunError, nearest
from hpc_dl.formatting import shortened
from hpc_dl.runs.folder import RunFolder

_LOST_AND_FOUND = "lost+found"  # of the system, at the top of a disk
_NAME_FORMS = "a run's name, the beginning of one, its folder, or 'latest'"


def all_runs(runs: Path) -> Iterator[RunFolder]:
    """Yield all runs in a folder, oldest first, including damaged ones and those of another layout.

    A folder that may not be looked into counts as a run, a hidden one does not.

    Raises:
        RunError: the folder of all runs cannot be read.
    """
    absolute = runs.absolute()
    try:
        with os.scandir(runs) as entries:
            paths = [f"{absolute}/{entry.name}" for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise RunError.at(
            runs, f"cannot be read: {error.strerror}", remedy="ask its owner for access, or specify another with --runs"
        ) from None
    times = {path: time for path in paths if (time := _time_of_run(path)) is not None}
    yield from (RunFolder(Path(path)) for path in sorted(times, key=lambda path: (times[path], path)))


def _time_of_run(path: str) -> int | None:
    """When a run was prepared, in ns; ``None`` for anything but a run."""
    try:
        for name in ("config.yaml", "layout", "state.json"):  # any of them may be missing in a damaged run
            with suppress(FileNotFoundError):
                return os.lstat(f"{path}/{name}").st_mtime_ns
    except NotADirectoryError:
        return None
    except OSError:  # the folder is someone else's
        return None if os.path.basename(path) == _LOST_AND_FOUND else 0
    return None


def find(name: str, runs: Path) -> RunFolder:
    """Return the run that a user names.

    Args:
        name: the run's name, the beginning of it, its folder, or ``latest``.
        runs: folder of all runs.

    Raises:
        RunError: the name matches no run or several, or the run's folder has another layout.
    """
    run = RunFolder(Path(name).absolute()) if name and _time_of_run(name) is not None else _by_name(name, runs)
    return run.checked()


def _by_name(name: str, runs: Path) -> RunFolder:
    if not name:
        raise RunError.at("RUN", "is empty", allowed=_NAME_FORMS)
    known = list(all_runs(runs))
    if name == "latest" and known:
        return known[-1]
    exact = [run for run in known if run.name == name]
    matches = exact or [run for run in known if run.name.startswith(name)]
    if len(matches) == 1:
        return matches[0]
    names = [run.name for run in known]
    if not known:
        raise RunError.at(
            name, f"no such run in {runs.absolute()}, which has no runs", remedy="specify their folder with --runs DIR"
        )
    if not matches:
        raise RunError.at(
            name,
            f"no such run in {runs.absolute()}",
            allowed=_NAME_FORMS,
            remedy=nearest(name, names)
            or "list the runs with `hpc-dl status`, or specify their folder with --runs DIR",
        )
    raise RunError.at(
        name,
        f"matches {len(matches)} runs",
        allowed=shortened([run.name for run in reversed(matches)], most=5),
        remedy="type more of the name, or `latest`",
    )


def newest_with(file: str, run_name: re.Pattern[str], folders: Iterable[Path]) -> list[RunFolder]:
    """Return the runs of a name that have a file, by the age of that file, the newest first.

    Args:
        file: its name in the run folder.
        run_name: matches the names of the runs.
        folders: where they may be.
    """
    times: dict[Path, float] = {}
    for path in (path for folder in folders for path in folder.glob(f"*/{file}")):
        if run_name.fullmatch(path.parent.name):
            with suppress(OSError):
                times[path.parent] = path.stat().st_mtime
    return [RunFolder(path) for path in sorted(times, key=times.__getitem__, reverse=True)]
