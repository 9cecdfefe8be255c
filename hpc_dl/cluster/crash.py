"""What ended a process that could not record it: a crash in compiled code, or the kernel."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from hpc_dl.errors import HpcDlError, statement_in_stack
from hpc_dl.regular_files import read_bytes

_STACK_BYTES, _MOST_OUTPUT_BYTES = 256 << 10, 16 << 20
_ERROR = re.compile(r"^Fatal Python error: (.*)\n", re.MULTILINE)
# What faulthandler writes below the error: stacks of all threads, and the modules in C.
_BELOW = re.compile(r"( |\w*Thread|Current thread|Extension modules|\.\.\.|<).*|")


def crash_in(log: Path) -> str:
    """Return the crash that ended the process which wrote a log, with its statement.

    Args:
        log: the log of a rank; may be missing.

    Returns:
        ``Segmentation fault, in FILE line N: `STATEMENT```, from the stack that ends the log; empty
        if it ends otherwise.
    """
    text = _end_of(log)
    errors = list(_ERROR.finditer(text))
    below = text[errors[-1].end() :] if errors else ""
    if not errors or not all(map(_BELOW.fullmatch, below.splitlines())):
        return ""
    current = below.rpartition("Current thread ")[2].partition("\n\n")[0]
    return errors[-1][1] + statement_in_stack(current)


def ran_out_of_memory(output: Path | None) -> bool:
    """Return whether the kernel killed a rank for its memory; Slurm's state is then only FAILED.

    Args:
        output: of the job; ``None`` if there is none.
    """
    with suppress(OSError, HpcDlError):
        return output is not None and b" oom-kill event" in read_bytes(output, _MOST_OUTPUT_BYTES)
    return False


def _end_of(log: Path) -> str:
    with suppress(OSError):
        if log.is_file():
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - _STACK_BYTES))
                return file.read(_STACK_BYTES).decode(errors="replace")
    return ""
