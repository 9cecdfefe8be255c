"""The sweep folder: a folder of runs, with the list of its members and the job arrays.

::

    RUNS/NAME-sweep/
      sweep.yaml         the experiment with its section sweep, as last submitted
      members.json       signature, point and seed of every member, by the name of its run, and
                         `former` of those that are not part of sweep.yaml anymore, and `reused`,
                         the run of which a member is a copy
      NAME-1a2b3c/       a member: an ordinary run folder
      .code/             the snapshots of the code that the members link to
      studies/NAME.yaml  only of adaptive sweeps: the experiment and the section, for its tasks
      study.journal      likewise: which points were tried, and what came of them (Optuna)
      arrays/N/          one submission: tasks (the members of each task), submitit/, job.json
      lock               held while a command changes the sweep
      sweep-layout       version of this layout; other versions are refused
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import write_json, write_text
from hpc_dl.config import yaml
from hpc_dl.errors import RunError
from hpc_dl.regular_files import DamagedFile, read_bytes, read_json
from hpc_dl.runs.folder import CODE_STORE, SWEEP_FILE, RunFolder
from hpc_dl.studies.trial_file import JOURNAL, read_trial

#: Increased by every change after which the files of older sweeps can no longer be read.
SWEEP_LAYOUT_VERSION = "1"
_MOST_LAYOUT_BYTES = 1000
_SUFFIX = "-sweep"
_SIGNATURE_DIGITS = 6  # of a member's name; more where two would be the same
_NUMBER = re.compile(r"[1-9][0-9]*")  # of a submission
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # becomes a path, also in the batch script


@dataclass(frozen=True)
class SweepFolder:
    """The files of one sweep.

    Attributes:
        path: the folder, absolute.
    """

    path: Path

    @classmethod
    def of(cls, runs: Path, experiment_name: str) -> SweepFolder:
        """The folder of an experiment's sweep; need not exist.

        Args:
            runs: the folder of all runs.
            experiment_name: name of the experiment.
        """
        return cls(Path(os.path.abspath(runs)) / f"{experiment_name}{_SUFFIX}")

    @property
    def name(self) -> str:
        """The sweep's name, unique in the folder of all runs."""
        return self.path.name

    @property
    def config(self) -> Path:
        """The experiment with its section ``sweep``; marks the folder as that of a sweep."""
        return self.path / SWEEP_FILE

    @property
    def member_list(self) -> Path:
        """The members that have been created."""
        return self.path / "members.json"

    @property
    def arrays(self) -> Path:
        """The submissions, in numbered folders."""
        return self.path / "arrays"

    def study(self, name: str) -> Path:
        """The experiment and the section ``sweep`` of a study."""
        return self.path / "studies" / f"{name}.yaml"

    @property
    def lock(self) -> Path:
        """Held while a command changes the sweep."""
        return self.path / "lock"

    @property
    def exists(self) -> bool:
        """Whether this is the folder of a sweep."""
        return os.path.isfile(self.config)  # also where the folder may not be looked into

    @property
    def layout(self) -> Path:
        """The version of the folder's layout."""
        return self.path / "sweep-layout"

    def members(self) -> dict[str, dict[str, Any]]:
        """Return ``signature``, ``point`` and ``seed`` of each member, by the name of its run.

        Raises:
            RunError: the list is damaged, or another version of hpc_dl wrote it.
        """
        content = self._listed()
        for name, facts in content.items():
            if "trial" in facts:  # its point is known since its task has started
                with contextlib.suppress(DamagedFile, OSError):
                    trial = read_trial(RunFolder(self.path / name))
                    facts["point"] = (trial and trial.point) or {}
        return content

    def _listed(self) -> dict[str, dict[str, Any]]:
        self._check_layout()
        content = read_json(self.member_list)
        if content is None:
            return {}
        if not isinstance(content, dict) or not all(map(_is_member, content, content.values())):
            raise RunError.at(self.member_list, "is not a list of members", remedy="start a sweep of another name")
        return content

    def _check_layout(self) -> None:
        version = SWEEP_LAYOUT_VERSION  # also of the first folders, which do not say so
        with contextlib.suppress(FileNotFoundError):
            version = read_bytes(self.layout, _MOST_LAYOUT_BYTES).decode(errors="replace").strip()
        if version != SWEEP_LAYOUT_VERSION:
            raise RunError.at(
                self.path,
                "the folder of this sweep was written by another version of hpc_dl",
                value=f"layout {version}",
                allowed=f"layout {SWEEP_LAYOUT_VERSION}",
                remedy="start a sweep of another name, or rename this folder",
            )

    def write_members(self, members: dict[str, dict[str, Any]]) -> None:
        """Replace the list of members."""
        write_text(self.layout, f"{SWEEP_LAYOUT_VERSION}\n")
        write_json(self.member_list, members)

    def runs(self) -> list[RunFolder]:
        """The runs of the members that have been created, in their order."""
        return [RunFolder(self.path / name) for name in self._listed()]

    def section(self) -> Any:
        """Return the section ``sweep`` as last submitted, unchecked; ``None`` if there is none.

        Raises:
            ConfigError: the file is damaged.
        """
        content = yaml.load(self.config)
        return content.get("sweep") if isinstance(content, Mapping) else None

    def remove(self) -> None:
        """Delete a sweep without members; what else is in its folder stays."""
        for folder in (self.arrays, self.path / CODE_STORE, self.path / "studies"):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.config, self.member_list, self.layout, self.lock, self.path / JOURNAL):
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.path.rmdir()

    def submissions(self) -> list[RunFolder]:
        """The folders of the submissions so far; copies that a user made are left out."""
        names = (entry.name for entry in self.arrays.glob("*"))
        return [RunFolder(self.arrays / name) for name in names if _NUMBER.fullmatch(name)]

    def new_array(self) -> RunFolder:
        """Create the folder of another submission."""
        number = 1 + max((int(array.path.name) for array in self.submissions()), default=0)
        array = RunFolder(self.arrays / str(number))
        array.submitit.mkdir(parents=True)
        return array

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from changing the sweep at the same time.

        Raises:
            RunError: another command does.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError.at(
                    self.path, "another command is changing this sweep", remedy="wait until it has ended"
                ) from None
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(descriptor)


def member_name(experiment_name: str, signature: str, taken: set[str]) -> str:
    """Return a short name of a member that no other has: ``cnn-digits-1a2b3c``.

    Args:
        experiment_name: name of the experiment.
        signature: of the member.
        taken: the names of the others.
    """
    lengths = range(_SIGNATURE_DIGITS, len(signature) + 1)
    return next(name for length in lengths if (name := f"{experiment_name}-{signature[:length]}") not in taken)


def _is_member(name: str, facts: Any) -> bool:
    if not _NAME.fullmatch(name) or not isinstance(facts, dict):
        return False
    return facts.keys() >= {"signature", "point", "seed"} and isinstance(facts["point"], dict)
