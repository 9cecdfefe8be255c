"""The files to which rows refer, such as images, and their upload to W&B."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hpc_dl.errors import escape_control_characters
from hpc_dl.tracking.wandb_record import WandbRecord
from hpc_dl.tracking.wandb_server import WandbServer

FILES = Path("wandb", "files")
"""Where a run folder has the files of W&B's media."""


class Media:
    """The uploads of files of one run.

    A file that the server refuses, such as a video that is too large, does not keep the rows back.
    The run folder notes it for the next upload.
    """

    def __init__(self, run_folder: Path, record: WandbRecord, server: WandbServer) -> None:
        """Send nothing yet."""
        self._run_folder = run_folder
        self._folder = (run_folder / FILES).resolve()
        self._record = record
        self._server = server
        self._reason = ""

    @property
    def problem(self) -> str:
        """Which files W&B does not have; empty if it has all."""
        names = self._record.refused_files
        if not names:
            return ""
        others = f" and {len(names) - 1} others" if len(names) > 1 else ""
        return escape_control_characters(f"W&B does not have the file {names[0]}{others}: {self._reason}")

    def send(self, place: tuple[str, str, str], names: Sequence[str]) -> None:
        """Upload files.

        Args:
            place: entity, project and id of the run.
            names: their paths in the folder of W&B's files; what is elsewhere is left out.

        Raises:
            WandbError: the server cannot be reached, or accepts no files.
            OSError: the run folder cannot be read or written.
        """
        names = [name for name in names if _is_within(self._folder, name)]
        refused = self._server.upload(*place, self._folder, names) if names else {}
        known = self._record.refused_files
        now = sorted({*known, *refused} - (set(names) - set(refused)))
        self._reason = next(iter(refused.values()), self._reason)
        if now != known:
            self._record.refused_files = now
            self._record.save(self._run_folder)


def media_files(lines: Iterable[str]) -> list[str]:
    """The files to which lines refer, such as images, as paths in the folder of W&B's files."""
    paths: dict[str, None] = {}
    stack: list[Any] = [json.loads(line) for line in lines if '"_type"' in line]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            for name in ("path", "filenames"):
                found = value.get(name, []) if "_type" in value else []
                listed = found if isinstance(found, list) else [found]
                paths |= dict.fromkeys(name for name in listed if isinstance(name, str))
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return sorted(paths)


def _is_within(folder: Path, name: str) -> bool:
    """Whether a file is in a folder: a run folder of someone else may name any file."""
    path = (folder / name).resolve()
    return path.is_relative_to(folder) and path.is_file()
