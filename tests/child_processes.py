"""Starting the child processes of tests."""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parent.parent


def start(command: Sequence[str | Path], **options: Any) -> subprocess.Popen[str]:
    """Start a child process that reacts to SIGINT (Ctrl-C), and do not wait for it.

    When a shell has started the test suite in the background, the suite ignores SIGINT, and all its
    children would inherit that.

    Args:
        command: program and arguments.
        options: as for ``subprocess.Popen``.
    """
    return subprocess.Popen(command, text=True, preexec_fn=_default_sigint, **options)


def start_module(module: str, *arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Start ``python -m MODULE ARGUMENTS`` from the project's folder, likewise."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return start(command, **{"cwd": PROJECT, **options})


def _default_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
