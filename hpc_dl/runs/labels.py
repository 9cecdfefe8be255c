"""What people write about a run: tags and a note, in ``labels.json``. No training reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from hpc_dl.atomic_files import write_json
from hpc_dl.errors import HpcDlError
from hpc_dl.regular_files import DamagedFile, read_json
from hpc_dl.runs.folder import RunFolder

_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_LONGEST_NOTE = 1000


@dataclass(frozen=True)
class Labels:
    """The labels of a run.

    Attributes:
        tags: in the order in which they were given, each once.
        note: a text, or "".
    """

    tags: tuple[str, ...] = ()
    note: str = ""


def check_tags(tags: Iterable[str]) -> None:
    """Check the tags that a user types.

    Raises:
        HpcDlError: one of them is not a tag.
    """
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise HpcDlError.at("TAG", "cannot be a tag", value=tag, allowed="up to 40 letters, digits, . _ -")


def check_note(text: str) -> None:
    """Check the note that a user types.

    Raises:
        HpcDlError: it is too long.
    """
    if len(text) > _LONGEST_NOTE:
        raise HpcDlError.at("TEXT", "is too long", value=f"{len(text)} characters", allowed=f"up to {_LONGEST_NOTE}")


def read_labels(run: RunFolder) -> Labels:
    """Return the labels of a run.

    Raises:
        DamagedFile: the file is damaged.
        OSError: it cannot be read.
    """
    content = read_json(run.labels)
    if content is None:
        return Labels()
    tags, note = (content.get("tags"), content.get("note")) if isinstance(content, dict) else (None, None)
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags) or not isinstance(note, str):
        raise DamagedFile.at(run.labels, "is damaged: it has no tags and note", remedy="remove the file")
    return Labels(tuple(tags), note)


def write_labels(run: RunFolder, labels: Labels) -> None:
    """Replace the labels of a run."""
    write_json(run.labels, asdict(labels))


def shown_labels(run: RunFolder) -> dict[str, Any]:
    """Return the labels as facts of a run, without empty ones; a damaged file has none."""
    with suppress(HpcDlError, OSError):
        labels = read_labels(run)
        return {key: value for key, value in (("tags", list(labels.tags)), ("note", labels.note)) if value}
    return {}
