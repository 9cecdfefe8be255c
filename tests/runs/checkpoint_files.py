"""Small checkpoint folders for the tests."""

import io
import random
import zipfile
from pathlib import Path

from hpc_dl.runs.checkpoints import Kind, write

_DATE = (1980, 1, 1, 0, 0, 0)  # fixed, so that equal contents are equal archives


def archive(text: str = "weights", size: int = 400) -> bytes:
    """A zip archive of uncompressed files, like torch's; equal bytes for equal arguments."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo("archive/data.pkl", _DATE), text)
        file.writestr(zipfile.ZipInfo("archive/data/0", _DATE), random.Random(text).randbytes(size))
    return buffer.getvalue()


def put(folder: Path, kind: Kind, *steps: int) -> None:
    """Write one checkpoint per step."""
    for step in steps:
        write(folder, kind, step, lambda file, step=step: file.write(archive(f"{kind} {step}")))  # type: ignore[misc]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def silent(line: str) -> None:
    """A ``say`` that must not be called."""
    raise AssertionError(f"unexpected message: {line}")
