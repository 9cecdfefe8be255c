"""The stack at the end of a log, as faulthandler writes it."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.cluster.child_processes import Command, run_together
from hpc_dl.cluster.crash import crash_in

PROGRAM = """
import ctypes, faulthandler, os, sys, threading
faulthandler.enable(open(sys.argv[1], "a"))
threading.Thread(target=threading.Event().wait, daemon=True).start()
{statement}
"""


def crashed(folder: Path, statement: str) -> tuple[Path, Path]:
    """Crash a program with two threads; return its log and its file."""
    program, log = folder / "program.py", folder / "log"
    program.write_text(PROGRAM.format(statement=statement))
    log.write_text("=== an earlier line\n")
    assert subprocess.run([sys.executable, program, log], cwd=folder).returncode < 0
    return log, program


@pytest.mark.parametrize(
    ("statement", "error"), [("os.abort()", "Aborted"), ("ctypes.string_at(0)", "Segmentation fault")]
)
def test_crash_with_its_statement(tmp_path: Path, statement: str, error: str) -> None:
    log, program = crashed(tmp_path, statement)
    assert crash_in(log) == f"{error}, in {program} line 5: `{statement}`"
    with log.open("a") as file:
        file.write("epoch 1/3  step 8\n")  # of a later attempt
    assert crash_in(log) == ""


def test_logs_without_a_crash(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("Traceback (most recent call last):\n")
    assert crash_in(tmp_path / "log") == crash_in(tmp_path / "none") == crash_in(tmp_path) == ""


def test_launcher_names_a_crash() -> None:
    failure = run_together([Command([sys.executable, "-c", "import os; os.abort()"], {})])
    assert failure and failure.crashed and str(failure) == "crashed (SIGABRT)"
