"""The runs that a run waits for: they must finish before it starts. Imports no torch.

A run keeps the folders of its predecessors in ``after.json``, from before its job is queued until
it starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hpc_dl.atomic_files import write_json
from hpc_dl.errors import HpcDlError
from hpc_dl.regular_files import DamagedFile, read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import DONE, ENDED, read_state

_LONGEST_CHAIN = 100


def record(run: RunFolder, earlier: Sequence[RunFolder]) -> None:
    """Write which runs must finish before this one starts."""
    write_json(run.after, [str(other.path) for other in earlier])


def predecessors(run: RunFolder) -> list[RunFolder]:
    """Return the runs that must finish before this one starts.

    Raises:
        DamagedFile: the list is damaged.
    """
    content = read_json(run.after)
    if content is None:
        return []
    if not isinstance(content, list) or not all(isinstance(path, str) and path.startswith("/") for path in content):
        raise DamagedFile.at(run.after, "is damaged: it is not a list of run folders")
    return [RunFolder(Path(path)) for path in content]


def waits_for(run: RunFolder) -> str:
    """Return the predecessors that have not finished: ``waits for A, B``; "" if there are none."""
    with suppress(OSError, HpcDlError):
        if names := [other.name for other in predecessors(run) if read_state(other)["state"] not in DONE]:
            return f"waits for {', '.join(names)}"
    return ""


def obstacle(run: RunFolder) -> str:
    """Return why a run cannot start, as far as the folders of its predecessors say.

    Returns:
        ``A failed: the reason``, about the first run of the chain that ended without a result; ""
        if all have finished or may still do so.
    """
    with suppress(OSError, HpcDlError):
        return _obstacle(run, _LONGEST_CHAIN)
    return ""


def _obstacle(run: RunFolder, depth: int) -> str:
    for other in predecessors(run) if depth else ():
        facts = read_state(other)
        if facts["state"] in DONE:
            continue
        if found := _obstacle(other, depth - 1):
            return found
        if other.cancelled.exists():
            return f"{other.name} was cancelled"
        if facts["state"] in ENDED - {"stopped"}:  # a stopped one may be requeued
            verb = "was cancelled" if facts["state"] == "cancelled" else facts["state"]
            return f"{other.name} {verb}: {facts.get('reason', 'no reason was recorded')}"
    return ""
