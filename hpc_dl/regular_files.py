"""Reading files that may be anything: only regular files, and only up to a size.

A run folder, a YAML file or a table may come from someone else, or be damaged. A FIFO in its place
would block forever, and ``/dev/zero`` would fill the memory.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hpc_dl.errors import ConfigError, HpcDlError

_T = TypeVar("_T")
_MOST_JSON = 64 << 20
# Network file systems report these when a server restarts or a file was replaced; once is not
# a failure.
_TRANSIENT = (errno.ESTALE, errno.EIO)


class DamagedFile(HpcDlError, ValueError):
    """A file is not what its name promises: another kind of file, too large, or damaged."""


def read_bytes(path: Path, most: int) -> bytes:
    """Return the content of a file.

    Args:
        path: the file.
        most: the largest size in bytes.

    Raises:
        DamagedFile: it is not a regular file, or larger.
        OSError: it does not exist or cannot be read.
    """
    return repeated_once(lambda: _read_once(path, most))


def repeated_once(access: Callable[[], _T]) -> _T:
    """Return the result of an access to a file, repeated if a network file system fails once.

    Raises:
        OSError: the access failed for another reason, or twice.
    """
    try:
        return access()
    except OSError as error:
        if error.errno not in _TRANSIENT:
            raise
    return access()


def read_json(path: Path) -> Any:
    """Return the content of a JSON file; ``None`` if it does not exist.

    Raises:
        DamagedFile: it is not a regular file, too large, or not JSON.
        OSError: it cannot be read.
    """
    try:
        content = read_bytes(path, _MOST_JSON)
    except FileNotFoundError:
        return None
    try:
        return json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        problem = "too many levels" if isinstance(error, RecursionError) else error
        raise DamagedFile.at(path, f"is damaged: it is not JSON: {problem}") from None


def user_path(text: str, where: str) -> Path:
    """Return the path that a user typed, with ``~`` and ``~name`` expanded.

    Args:
        text: the path.
        where: the configuration key or variable that it comes from.

    Raises:
        ConfigError: there is no user of that name, or no file can have that path.
    """
    try:
        if "\0" in text:
            raise ConfigError.at(where, "contains a NUL character, which no path can", value=text)
        return Path(text).expanduser()
    except RuntimeError:
        name = text.partition("/")[0]
        raise ConfigError.at(
            where, f"{name} is not a home folder on this machine", value=text, remedy="write the path without ~"
        ) from None


def check_regular(path: Path, status: os.stat_result, most: int | None = None) -> None:
    """Check that a file is a regular one, and not larger than expected.

    Args:
        path: the file, for the message.
        status: its status.
        most: the largest size in bytes; ``None`` for any.

    Raises:
        DamagedFile: it is not.
    """
    if not stat.S_ISREG(status.st_mode):
        raise DamagedFile.at(path, f"is {_kind(status.st_mode)}, not a file")
    if most is not None and status.st_size > most:
        raise DamagedFile.at(path, "is too large", value=f"{status.st_size} bytes", allowed=f"up to {most} bytes")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON value")


def _read_once(path: Path, most: int) -> bytes:
    # O_NONBLOCK: opening a FIFO without a writer would wait forever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        check_regular(path, os.fstat(descriptor), most)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(content) > most:  # files of /proc have size 0
        raise DamagedFile.at(path, "is too large", allowed=f"up to {most} bytes")
    return content


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
