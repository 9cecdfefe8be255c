"""The error that ends a command with a message for the user."""

from __future__ import annotations

import os
import sys


class Fault(Exception):
    """A problem that the user can solve: what, where, and the remedy.

    Attributes:
        code: exit status of the command.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def command() -> str:
    """The path of this command as the user can type it, for messages."""
    path = os.path.relpath(sys.argv[0])
    if path.startswith(".."):
        return os.path.abspath(path)
    return path if "/" in path else f"./{path}"


def say(text: str) -> None:
    """Print a line of progress."""
    print(f"cluster: {text}", flush=True)
