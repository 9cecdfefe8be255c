"""User-facing errors and how they are reported.

Every error that a user can fix is an :class:`HpcDlError`, which holds one or more :class:`Fault`.
The command line prints each fault on one line and exits with status 2. Any other exception is a
defect of this package and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
import inspect
import linecache
import os
import re
import signal
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Self


class _Absent:
    """Stands for no value; a class, which is still the same after an error was pickled."""


@dataclass(frozen=True)
class Fault:
    """One user error; ``str()`` describes it in one line that is safe to print.

    Attributes:
        where: the dotted path of a configuration key (``optimizer.lr``), a file, or
            ``file:/dataset``.
        problem: what is wrong, without a period at the end.
        value: the invalid value; the line shows none when this is not given.
        allowed: the valid values.
        remedy: what to do about it, in the imperative.
    """

    where: str
    problem: str
    value: object = _Absent
    allowed: str = ""
    remedy: str = ""

    def __hash__(self) -> int:
        return hash(str(self))  # a value may be a list

    def __str__(self) -> str:
        line = f"{self.where}: {self.problem}"
        details = []
        if self.value is not _Absent:
            details.append(f"got {_shorten(repr(self.value))}")
        if self.allowed:
            details.append(f"allowed: {self.allowed}")
        if details:
            line += f" ({'; '.join(details)})"
        if self.remedy:
            line += f". {self.remedy[0].upper()}{self.remedy[1:]}"
        return escape_control_characters(" ".join(line.split()))


class HpcDlError(Exception):
    """Base class of all errors that a user can fix; ``str()`` has one line for each fault."""

    exit_status = 2

    def __init__(self, *faults: Fault) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(map(str, self.faults))

    @classmethod
    def at(cls, where: object, problem: str, **details: object) -> Self:
        """Create an error with one fault; ``details`` are the other fields of :class:`Fault`."""
        return cls(Fault(str(where), problem, **details))  # type: ignore[arg-type]


class ConfigError(HpcDlError):
    """The experiment's YAML, an override or a site profile is invalid."""


class DataError(HpcDlError):
    """A data file is missing, damaged, or does not fit the experiment."""


class RunError(HpcDlError):
    """A run does not exist, its name is ambiguous, or its state does not allow the command."""


class ClusterError(HpcDlError):
    """Slurm or this machine cannot do what was requested."""


class Stopped(HpcDlError):
    """A training stopped on request after a complete step; its checkpoint allows it to resume."""

    exit_status = 75  # EX_TEMPFAIL in sysexits.h: a temporary failure, try again


class Diverged(HpcDlError):
    """The loss or the weights of a training are no longer finite."""

    exit_status = 1


def environment_fault(error: BaseException) -> Fault | None:
    """Describe an error that this machine or its disks caused; ``None`` for a defect of the code.

    A full disk, a folder without access and the like may occur anywhere, even in libraries; so may
    the loss of a worker process of a user's DataLoader.
    """
    if (lost := _lost_worker(error)) is not None:
        return lost
    if isinstance(error, MemoryError):
        return Fault("memory", "there is not enough of it", remedy="request more memory, or use smaller data")
    if not isinstance(error, OSError) or error.errno not in _ENVIRONMENT:
        return None
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    remedy = _ENVIRONMENT[error.errno]
    return Fault(" → ".join(names) or "this machine", (error.strerror or "failed").lower(), remedy=remedy)


_ACCESS = "ask the owner for access, or choose another folder"
_SPACE = "free some space or request more, then run the command again"
_BROKEN = "try again; if that does not help, ask the administrators of this file system"
_LIMIT = "close other programs, or raise the limit"
_NAME = "choose another path"
_ENVIRONMENT = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EROFS: _ACCESS,
    errno.EACCES: _ACCESS,
    errno.EPERM: _ACCESS,
    errno.EIO: _BROKEN,
    errno.ESTALE: _BROKEN,
    errno.ENOTCONN: _BROKEN,  # a crashed FUSE file system
    errno.EREMOTEIO: _BROKEN,
    errno.ETIMEDOUT: _BROKEN,
    errno.EMFILE: _LIMIT,
    errno.ENFILE: _LIMIT,
    errno.ENOMEM: _LIMIT,
    errno.ENAMETOOLONG: _NAME,
    errno.ELOOP: _NAME,
    errno.ENOTDIR: _NAME,
    errno.EISDIR: _NAME,
}


# torch's messages; that of the cause names the signal, as the system calls it.
_LOST_WORKER = re.compile(r"^DataLoader worker \(pid.*?\) (?:exited unexpectedly|is killed by signal: ([^.]*))")
_OF_LOST_WORKER = {
    "Killed": "request more memory (resources.memory), or lower num_workers: each worker takes its own",
    "Bus error": "lower num_workers or the batch size, or give the container or node more shared memory (/dev/shm): "
    "workers pass their batches through it",
}
_CRASH_OF_WORKER = "set num_workers to 0: then the line says which statement does it"


def _lost_worker(error: BaseException) -> Fault | None:
    """Describe the end of a worker process of a DataLoader; ``None`` for other errors."""
    found = _LOST_WORKER.match(str(error)) if isinstance(error, RuntimeError) else None
    if found is None:
        return None
    by = found[1] or (_LOST_WORKER.match(str(error.__cause__)) or found)[1] or _signal_of_worker(error)
    how = f"was killed by a signal ({by})" if by else "has ended"
    remedy = _OF_LOST_WORKER.get(by, _CRASH_OF_WORKER)
    return Fault("data loader", f"one of its worker processes {how}", remedy=remedy)


def _signal_of_worker(error: BaseException) -> str:
    """Return the name of the signal that killed the worker, which torch's message lacks.

    That happens when the loader notices the end of a worker before the system's signal for it
    arrives. The processes, with their exit codes, are then local to the frame that raised.
    """
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for worker in frame.f_locals.get("failed_workers", ()):
            if (code := getattr(worker, "exitcode", None) or 0) < 0:
                return signal.strsignal(-code) or ""
    return ""


_TRACEBACK = "Traceback (most recent call last):\n"
_FRAME = re.compile(r'^ +File "(.+)", line (\d+),? in ', re.MULTILINE)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for the most similar known name, or "" when none is similar."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"did you mean {matches[0]!r}?" if matches else ""


def raised_at(error: BaseException, anywhere: bool = False) -> str:
    """Return where the user's code raised an error: ``, in FILE line N: `STATEMENT```.

    That is the innermost frame outside of hpc_dl, the installed packages and Python itself.

    Args:
        error: the exception.
        anywhere: without such a frame return the innermost one, instead of "".
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(frame.filename)]
    chosen = own or (frames if anywhere else [])
    if not chosen:
        return ""
    last = chosen[-1]
    return _at(last.filename, last.lineno, last.line)


def describe(error: BaseException, anywhere: bool = False) -> str:
    """Describe an error of a user's code: ``TYPE: message, in FILE line N: `STATEMENT```.

    Args:
        error: the exception; of one that a worker of a data loader raised, the worker's counts.
        anywhere: as for :func:`raised_at`.
    """
    if (in_worker := str(error).rpartition(_TRACEBACK)[2]) != str(error):
        lines = in_worker.splitlines()
        message = [line for line in lines if line and not line.startswith(" ")]
        return f"{' '.join(message)} (in a data loading worker){_innermost(reversed(_FRAME.findall(in_worker)))}"
    if (lost := _lost_worker(error)) is not None:
        return str(lost)
    message_of = f": {error}" if str(error) else ""
    return f"{type(error).__name__}{message_of}{raised_at(error, anywhere)}"


def statement_in_stack(stack: str) -> str:
    """Return the innermost statement of the user's code in a stack that ``faulthandler`` wrote.

    Args:
        stack: its text; the innermost frame comes first. Without the user's code that one counts.

    Returns:
        ``, in FILE line N: `STATEMENT```; empty for a stack without frames.
    """
    return _innermost(_FRAME.findall(stack))


def defined_at(function: Callable[..., Any]) -> str:
    """Return where a function of the user's code is defined, like :func:`raised_at`."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or not _is_users(code.co_filename):
        return ""
    return _at(code.co_filename, code.co_firstlineno, linecache.getline(code.co_filename, code.co_firstlineno))


def _innermost(frames: Iterable[tuple[str, str]]) -> str:
    """The first frame of the user's code, else the first one; empty without frames."""
    files = [(file, int(line)) for file, line in frames]
    own = [frame for frame in files if _is_users(frame[0])]
    return next((_at(file, line, linecache.getline(file, line)) for file, line in own or files), "")


def _at(file: str, line: int | None, statement: str | None) -> str:
    return f", in {file} line {line}" + (f": `{statement.strip()}`" if statement and statement.strip() else "")


def _is_users(file: str) -> bool:
    roots = {os.path.dirname(os.path.abspath(__file__)), os.path.dirname(os.__file__)}
    installed = {"site-packages", "dist-packages"} & set(file.split(os.sep))
    return not (file.startswith("<") or installed or any(file.startswith(root + os.sep) for root in roots))


def escape_control_characters(text: str) -> str:
    r"""Return the text with every unprintable character escaped (``\x1b``), line breaks included.

    Names and values from a user's files may contain escape sequences that a terminal would execute.
    """
    if text.isprintable():
        return text
    escapes = {ord(char): char.encode("unicode_escape").decode() for char in set(text) if not char.isprintable()}
    return text.translate(escapes)


def printable(text: str) -> str:
    """Return the text as it may reach a terminal: escaped, with its line breaks and tabs."""
    return "\n".join("\t".join(map(escape_control_characters, line.split("\t"))) for line in text.split("\n"))


def _shorten(text: str, width: int = 120) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
