"""The folder ``.OUT.part`` next to the packed file, where an unfinished run keeps its progress."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpc_dl.atomic_files import write_json
from hpc_dl.data.packing.plan import Plan
from hpc_dl.errors import DataError
from hpc_dl.regular_files import read_json

_PLAN = "plan.json"


def staging_folder(out: Path) -> Path:
    """Return the folder of an unfinished run."""
    return out.with_name(f".{out.name}.part")


@contextmanager
def staged(out: Path, plan: Plan, restart: bool) -> Iterator[Path]:
    """Provide the folder of this run, locked against other processes.

    The folder is deleted at the end. It is kept, to resume from, if the run is killed or cannot
    write.

    Args:
        out: the packed file.
        plan: of this run.
        restart: start over if an unfinished run has another plan.

    Raises:
        DataError: another process is packing this file, or an unfinished run has another plan.
    """
    folder = staging_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, out)
        current, unfinished = plan.as_json(), read_json(folder / _PLAN)
        if unfinished is not None and unfinished != current and not restart:
            changed = [key for key in current if unfinished.get(key) != current[key]]
            reason = "the source has changed" if "fingerprint" in changed else f"other options ({', '.join(changed)})"
            raise DataError.at(
                folder,
                f"is an unfinished run that cannot be resumed: {reason}",
                remedy="start over with `--force`, or repeat the original command",
            )
        if unfinished != current:
            for child in folder.iterdir():
                child.unlink()
            write_json(folder / _PLAN, current)
        try:
            yield folder
        except DataError:  # the user has to correct the source, so its fingerprint will change
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)
    finally:
        os.close(handle)


def _lock(handle: int, out: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError.at(out, "is being packed by another process", remedy="wait for it, or stop it") from None
    except OSError:
        pass  # the file system has no locks
