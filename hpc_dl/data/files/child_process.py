"""Reading an untrusted file in a child process.

Damaged files can crash the HDF5 library, or have it loop forever; neither can be caught.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from hpc_dl.errors import DataError, HpcDlError

_R = TypeVar("_R")
Progress = Callable[[], object]

_SILENCE_S = 120.0  # for 8 MiB from a slow disk
_BEAT, _RESULT = b".", b"="
_BEAT_EVERY_S = 1.0
_REMEDY = "copy the file again, or create it again"


def in_child_process(read: Callable[[Path, Progress], _R], path: Path, *, silence_s: float = _SILENCE_S) -> _R:
    """Call a function in a fork of this process, which must have no threads that hold locks.

    Args:
        read: the function; it must call its second argument for each part that it has read.
        path: its first argument.
        silence_s: seconds without such a call after which the child is killed.

    Returns:
        What the function returns; it is pickled.

    Raises:
        DataError: the function crashed, or did not return.
        HpcDlError: what it raised.
    """
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        os.close(reading)
        _run_and_exit(read, path, writing)
    os.close(writing)
    try:
        content = _received(reading, path, silence_s)
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)  # it has sent its result, or never will
        _, status = os.waitpid(pid, 0)
    if not content:
        killed = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "an error"
        raise DataError.at(
            path, f"is damaged in a way that the HDF5 library does not survive ({killed})", remedy=_REMEDY
        )
    succeeded, result = pickle.loads(content)  # noqa: S301  # of our own child
    if succeeded:
        return result  # type: ignore[no-any-return]
    raise result


def beat_while_python_runs(beat: Callable[[], object]) -> None:
    """Have a child process beat once a second, except during a call into C that does not return.

    A loop in the HDF5 library holds the interpreter, which then handles no signals.

    Args:
        beat: the second argument of the function that runs in the child.
    """
    signal.signal(signal.SIGALRM, lambda *_: beat())
    signal.siginterrupt(signal.SIGALRM, False)  # reads from slow disks go on
    signal.setitimer(signal.ITIMER_REAL, _BEAT_EVERY_S, _BEAT_EVERY_S)


def _received(reading: int, path: Path, silence_s: float) -> bytes:
    """Wait for the result while the child makes progress."""
    content = b""
    while select.select([reading], [], [], silence_s)[0]:
        if not (part := os.read(reading, 1 << 20)):
            return content.partition(_RESULT)[2]
        content = content.strip(_BEAT) + part if _RESULT not in content else content + part
    raise DataError.at(
        path,
        f"is damaged in a way that the HDF5 library does not survive (no answer for {silence_s:g} s)",
        remedy=_REMEDY,
    )


def _run_and_exit(read: Callable[[Path, Progress], Any], path: Path, writing: int) -> None:
    try:
        try:
            answer = (True, read(path, lambda: os.write(writing, _BEAT)))
        except HpcDlError as error:
            answer = (False, error)
        except Exception as error:  # a defect: it keeps its type, and gets its traceback as a note
            import traceback

            error.add_note(traceback.format_exc())
            answer = (False, error)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)  # no beat in the middle of the result
        content = _RESULT + pickle.dumps(answer)
        while content:
            content = content[os.write(writing, content) :]
    finally:
        os._exit(0)
