"""An index of ended runs, so that a table of thousands does not read all of their files again.

It is a cache of one user, in ``~/.cache/hpc_dl``: a folder of runs may be shared, and nobody
relies on what another user's command wrote. An entry counts only as long as the files of its run
are the same; without an index everything is read from the run folders.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hpc_dl
from hpc_dl.atomic_files import write_text
from hpc_dl.errors import HpcDlError
from hpc_dl.regular_files import read_bytes
from hpc_dl.runs.folder import RunFolder

_VERSION = f"1 of hpc_dl {hpc_dl.__version__}"
# All that the entries are made from. A file that is new or was renamed changes the folder itself.
_FILES = (".", "layout", "config.yaml", "job.json", "state.json", "result.json", "labels.json")
_FEWEST_NEW = 100  # fewer are read as fast as an index is written
# A file may change twice within the resolution of its time, and a server's clock may differ.
_SETTLED_NS = 5_000_000_000
_LONGEST_UNUSED_S = 90 * 86400
_MOST_BYTES = 1 << 30


class RunIndex:
    """What is known of the ended runs in one folder of runs."""

    def __init__(self, folder: Path) -> None:
        """Read the index of a folder; one that is missing or damaged counts as empty.

        Args:
            folder: a folder of runs.
        """
        self._folder = os.path.realpath(folder)
        self._file = _cache() / f"runs-{_digest(self._folder)}.json"
        self._entries: dict[str, Any] = {}
        # The parts of the settings, each once: most of them are the same in many runs.
        self._sections: list[dict[str, Any]] = []
        self._num_new = 0
        with contextlib.suppress(HpcDlError, OSError, ValueError, LookupError, TypeError):
            content = json.loads(read_bytes(self._file, _MOST_BYTES))
            if (content["version"], content["folder"]) == (_VERSION, self._folder):
                self._entries, self._sections = dict(content["runs"]), list(content["sections"])
        self._numbers = {json.dumps(section): number for number, section in enumerate(self._sections)}

    def stamp(self, run: RunFolder) -> str:
        """Return what changes with the files of a run; "" for one that has just changed.

        Args:
            run: the run; take its stamp before its files are read.
        """
        facts, newest = [], 0
        folder = str(run.path)
        for name in _FILES:
            try:
                found = os.stat(f"{folder}/{name}")
            except OSError:
                facts.append((0, 0, 0))
                continue
            facts.append((found.st_mtime_ns, found.st_size, found.st_ino))
            newest = max(newest, found.st_mtime_ns, found.st_ctime_ns)
        return _digest(str(facts)) if newest < time.time_ns() - _SETTLED_NS else ""

    def get(self, run: RunFolder, stamp: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Return the facts and the settings of a run; ``None`` if they are not known.

        Args:
            run: the run.
            stamp: its current stamp.
        """
        try:
            known_stamp, facts, numbers = self._entries[run.name]
            if not stamp or stamp != known_stamp:
                return None
            settings: dict[str, Any] = {}
            for number in numbers:
                settings.update(self._sections[number])
        except (LookupError, ValueError, TypeError):  # it is not there, or the file is damaged
            return None
        return facts, settings

    def add(self, run: RunFolder, stamp: str, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """Add what was read of an ended run.

        Args:
            run: the run.
            stamp: as it was before the files were read.
            facts: what the files say; must not depend on anything else.
            settings: its configuration by dotted keys.
        """
        if not stamp:
            return
        sections: dict[str, dict[str, Any]] = {}
        for key, value in settings.items():
            sections.setdefault(key.partition(".")[0], {})[key] = value
        with contextlib.suppress(TypeError, ValueError):  # YAML has values that JSON has not, such as dates
            self._entries[run.name] = [stamp, dict(facts), [self._number(part) for part in sections.values()]]
            self._num_new += 1

    def save(self) -> None:
        """Write the index if it has changed much; runs that are gone are left out.

        Where it cannot be written, there is none.
        """
        if self._num_new < _FEWEST_NEW:
            return
        entries = {name: entry for name, entry in self._entries.items() if os.path.lexists(f"{self._folder}/{name}")}
        content = {"version": _VERSION, "folder": self._folder, "sections": self._sections, "runs": entries}
        with contextlib.suppress(OSError):
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_text(self._file, json.dumps(content))
            for other in self._file.parent.glob("runs-*.json"):
                if other.stat().st_mtime < time.time() - _LONGEST_UNUSED_S:
                    other.unlink()

    def _number(self, section: dict[str, Any]) -> int:
        text = json.dumps(section)
        if text not in self._numbers:
            if json.loads(text) != section:
                raise ValueError("JSON would change it")
            self._numbers[text] = len(self._sections)
            self._sections.append(section)
        return self._numbers[text]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "hpc_dl")


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=12).hexdigest()
