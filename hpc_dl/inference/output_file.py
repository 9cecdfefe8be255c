"""The check of an output path before hours of work depend on it."""

from __future__ import annotations

from pathlib import Path

from hpc_dl.errors import RunError


def check_output(out: Path, *, force: bool, source: Path | None = None) -> None:
    """Check that a file may be written.

    Args:
        out: the file to write.
        force: whether an existing file may be replaced.
        source: the file that is read, which is never replaced.

    Raises:
        RunError: the file exists and must not be replaced.
    """
    if not out.exists():
        return
    if source is not None and source.exists() and out.samefile(source):
        raise RunError.at(out, "is the input file, which is never overwritten", remedy="choose another name")
    if not force:
        raise RunError.at(out, "already exists", remedy="choose another name, or replace it with --force")
