"""The file or folder to pack, as the formats look at it to recognize their own."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from hpc_dl.data.packing.file_per_sample import regular_files


class Place:
    """A file or folder that exists.

    Attributes:
        path: the file or folder.
        is_folder: whether it is a folder.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.is_folder = path, path.is_dir()

    def is_file(self, *suffixes: str) -> bool:
        """Whether it is a file whose name ends with one of these suffixes."""
        return not self.is_folder and self.path.name.lower().endswith(suffixes)

    def holds(self, *suffixes: str) -> bool:
        """Whether it is a folder with such files in it, or in folders below it."""
        return self.is_folder and any(name.endswith(suffixes) for name in self._endings)

    def holds_only(self, *suffixes: str) -> bool:
        """Whether it is a folder with such files and no others."""
        return self.holds(*suffixes) and all(name.endswith(suffixes) for name in self._endings)

    def has(self, name: str) -> bool:
        """Whether it is a folder that contains a file or folder of this name."""
        return self.is_folder and (self.path / name).exists()

    def start(self, num_bytes: int) -> bytes:
        """Return the first bytes of the file; nothing if they cannot be read."""
        try:
            with self.path.open("rb") as file:
                return file.read(num_bytes)
        except OSError:
            return b""

    @cached_property
    def _endings(self) -> set[str]:
        """The last two suffixes of each file name that occurs, for example ``.nii.gz``."""
        return {"".join(file.suffixes[-2:]).lower() for file in regular_files(self.path)}
