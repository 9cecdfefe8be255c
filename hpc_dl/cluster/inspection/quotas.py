"""Quotas of the user on the file systems of a cluster, from whichever programs report them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

_TIMEOUT_S = 10.0
_KIB = 1024
#: Of computing centers; each prints lines with a folder, used/limit of the space, and of the files.
_SITE_PROGRAMS = ("lumi-workspaces", "csc-workspaces", "diskusage_report")
_SIZE = r"(\d[\d.,]*\s?[kKMGTP]?)(?:i?B)?"
_PAIRS = re.compile(rf"^\s*(/\S*).*?\s{_SIZE}/{_SIZE}\s+{_SIZE}/{_SIZE}(?:\s|$)")
_COUNT = re.compile(r"\[?(\d+)\]?\*?")
_UNITS = {unit: power for power, unit in enumerate("KMGTP", start=1)}


@dataclass(frozen=True)
class Quota:
    """How much of a limit is used.

    Attributes:
        where: the file system or folder, and whose quota it is if it is not the user's own.
        kind: what is counted: ``space`` in bytes, or ``files``.
        used: how many are used.
        limit: how many are allowed; of a soft and a hard limit, the lower one.
    """

    where: str
    kind: str
    used: float
    limit: float

    @property
    def share(self) -> float:
        """The used share of the limit."""
        return self.used / self.limit


def quotas(folders: Sequence[Path], user: str) -> list[Quota]:
    """Ask all programs that exist, at the same time; those that fail or are slow are left out.

    Args:
        folders: existing folders, on whose file systems the quotas of Lustre are asked for.
        user: the name of the user.
    """
    questions: list[Callable[[], list[Quota]]] = [
        lambda: list(read_table(_answer("quota", "--no-wrap", "--raw-grace"))),
        lambda: list(read_mmlsquota(_answer("mmlsquota", "-Y"))),
        lambda: list(read_beegfs(_answer("beegfs-ctl", "--getquota", "--csv", "--uid", user))),
        *(partial(_of_site_program, name) for name in _SITE_PROGRAMS),
    ]
    if shutil.which("lfs"):
        questions += [partial(_of_lustre, folder, user) for folder in folders]
    with ThreadPoolExecutor(len(questions)) as pool:
        answers = [pool.submit(question) for question in questions]
        return list(dict.fromkeys(quota for answer in answers for quota in answer.result()))


def read_table(text: str) -> Iterator[Quota]:
    """Read ``quota --no-wrap --raw-grace`` and ``lfs quota``: KiB, soft and hard limit, files.

    lfs breaks the line after a long name.
    """
    name = owner = ""
    for line in text.splitlines():
        if match := re.match(r"Disk quotas for (?:grp|group|prj|project) (\S+)", line):
            owner = match[1]
            continue
        words = line.split()
        if len(words) == 1:
            name = words[0]
            continue
        if len(words) == 8:
            words.insert(0, name)
        if len(words) == 9:
            numbers = [match and int(match[1]) for match in map(_COUNT.fullmatch, words)]
            where = f"{words[0]} ({owner})" if owner else words[0]
            yield from _quota(where, "space", numbers[1:4], _KIB)
            yield from _quota(where, "files", numbers[5:8])


def read_mmlsquota(text: str) -> Iterator[Quota]:
    """Read ``mmlsquota -Y`` of GPFS: fields between colons, named in a header."""
    header: list[str] = []
    for line in text.splitlines():
        fields = line.split(":")
        if "HEADER" in fields:
            header = fields
            continue
        row = dict(zip(header, fields, strict=False))
        parts = [row.get("filesystemName", ""), row.get("filesetname", "")]
        where = "/".join(part for part in parts if part) + (
            f" ({row['name']})" if row.get("quotaType") == "GRP" else ""
        )
        for kind, prefix, unit in (("space", "block", _KIB), ("files", "files", 1)):
            numbers = [row.get(f"{prefix}{what}", "") for what in ("Usage", "Quota", "Limit")]
            yield from _quota(where, kind, [int(text) if text.isdecimal() else None for text in numbers], unit)


def read_beegfs(text: str) -> Iterator[Quota]:
    """Read ``beegfs-ctl --getquota --csv``: name, id, bytes, limit, files, limit."""
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) == 6:
            numbers = [int(field) if field.isdecimal() else None for field in fields]
            yield from _quota("BeeGFS", "space", numbers[2:4])
            yield from _quota("BeeGFS", "files", numbers[4:6])


def read_pairs(text: str) -> Iterator[Quota]:
    """Read what programs of computing centers print: a folder, used/limit of space and of files."""
    for match in filter(None, map(_PAIRS.match, text.splitlines())):
        yield from _quota(match[1], "space", [_number(match[2], 1024), _number(match[3], 1024)])
        yield from _quota(match[1], "files", [_number(match[4], 1000), _number(match[5], 1000)])


def _quota(where: str, kind: str, numbers: Sequence[float | None], unit: int = 1) -> Iterator[Quota]:
    """The quota of used, and of one or two limits, where 0 or ``None`` is no limit."""
    used, *limits = numbers
    if used is not None and (limit := min(filter(None, limits), default=None)):
        yield Quota(where, kind, used * unit, limit * unit)


def _number(text: str, base: int) -> float | None:
    """Read ``19G``, ``280 k`` or ``1,7G``."""
    digits, unit = re.fullmatch(r"([\d.,]+)\s?(\w?)", text).groups()  # type: ignore[union-attr]
    with suppress(ValueError):
        return float(digits.replace(",", ".")) * float(base ** _UNITS.get(unit.upper(), 0))
    return None


def _of_site_program(name: str) -> list[Quota]:
    return list(read_pairs(_answer(name)))


def _of_lustre(folder: Path, user: str) -> list[Quota]:
    """The quotas that apply to a folder: of the user, of its group, and of its project."""
    owners = [("-u", user)]
    with suppress(OSError, KeyError):
        owners.append(("-g", folder.group()))
    project = _answer("lfs", "project", "-d", str(folder)).split()
    if project and project[0].isdecimal() and int(project[0]):
        owners.append(("-p", project[0]))
    return [quota for owner in owners for quota in read_table(_answer("lfs", "quota", *owner, str(folder)))]


def _answer(program: str, *arguments: str) -> str:
    """What a program prints, also if it fails: ``quota`` does when a quota is exceeded."""
    if shutil.which(program) is None:
        return ""
    try:
        done = subprocess.run(
            [program, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
