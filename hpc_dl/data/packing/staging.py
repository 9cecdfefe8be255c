"""The folder ``.OUT.part`` beside the packed file, in which an unfinished run keeps what it has
done.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.data.packing.layout import Plan
from hpc_dl.errors import DataError

_PLAN = "plan.json"


def staging_folder(out: Path) -> Path:
    """Where an unfinished run of a file lies."""
    return out.with_name(f".{out.name}.part")


@contextmanager
def staged(out: Path, plan: Plan, restart: bool) -> Iterator[Path]:
    """The folder of this run, which no other one works in; kept when the run is killed or cannot
    write.

    Args:
        out: the packed file.
        plan: what this run makes.
        restart: begin anew where an unfinished run made something else.

    Raises:
        DataError: another process packs this file, or an unfinished run made something else.
    """
    folder = staging_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, out)
        wanted, there = plan.as_json(), read_json(folder / _PLAN)
        if there is not None and there != wanted and not restart:
            changed = ", ".join(key for key in wanted if there.get(key) != wanted[key])
            what = "the source was changed since" if there.get("fingerprint") != wanted["fingerprint"] else (
                f"it was told something else ({changed})"
            )  # fmt: skip
            raise DataError.at(
                folder,
                f"is an unfinished run that cannot go on: {what}",
                remedy="begin anew by `--force`, or repeat the command that it was started with",
            )
        if there != wanted:
            for child in folder.iterdir():
                child.unlink()
            write_json(folder / _PLAN, wanted)
        try:
            yield folder
        except DataError:  # the source has to be mended, and is another one then
            shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)
    finally:
        os.close(handle)


def _lock(handle: int, out: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError.at(out, "is being packed by another process", remedy="wait for it, or end it") from None
    except OSError:
        pass  # a file system without locks: nothing to be done about it
