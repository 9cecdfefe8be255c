"""Whose run it is: the folder of another user may hold malicious code."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder

_ROOT = 0  # could change our own files as well


def foreign_owner(run: RunFolder) -> str:
    """Return who else owns a run folder or what can hold code in it; empty for one's own run."""
    for path in _with_code(run):
        try:
            uid = path.stat().st_uid
        except FileNotFoundError:
            continue
        if uid not in (os.geteuid(), _ROOT):
            return _name(uid)
    return ""


def check_trusted(run: RunFolder, runs_code_by: str, *, yes: bool) -> None:
    """Ask before code from another user's run folder is run; without a terminal, refuse.

    Args:
        run: the run.
        runs_code_by: what would run it, for the question: ``resuming it runs its code``.
        yes: whether the user has agreed already.

    Raises:
        RunError: it is another user's, and the user did not agree.
    """
    if yes or not (owner := foreign_owner(run)):
        return
    problem = f"belongs to {owner}, and {runs_code_by}"
    if sys.stdin.isatty() and sys.stderr.isatty():
        print(f"{run.path} {problem}. Continue? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return
    raise RunError.at(
        run.path, problem, remedy="if you trust its owner and have read its config.yaml and code, add --yes"
    )


def check_own(run: RunFolder) -> None:
    """Check that a run is one's own, before a command changes or removes it.

    Raises:
        RunError: it belongs to another user, or no longer exists.
    """
    try:
        uid = run.path.stat().st_uid
    except OSError as error:
        raise RunError.at(run.path, f"cannot be changed: {error.strerror}") from None
    if uid != os.geteuid():
        raise RunError.at(run.path, f"belongs to {_name(uid)}", remedy="ask its owner to do it")


def names_code(section: Any) -> bool:
    """Whether a ``model`` section names Python code to import, at any depth."""
    if isinstance(section, dict):
        return bool(section.keys() & {"class", "network"}) or any(map(names_code, section.values()))
    return isinstance(section, list) and any(map(names_code, section))


def _with_code(run: RunFolder) -> Iterator[Path]:
    yield from (run.path, run.config, run.site, run.job)
    for folder in (run.code, run.checkpoints):
        yield folder
        for parent, folders, files in os.walk(folder):
            yield from (Path(parent, name) for name in (*folders, *files))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
