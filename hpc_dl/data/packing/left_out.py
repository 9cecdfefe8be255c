"""The note about files of a folder that are not packed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from hpc_dl.data.packing.file_per_sample import regular_files
from hpc_dl.data.packing.refused import sample_remedy
from hpc_dl.data.packing.source import Source
from hpc_dl.formatting import shortened


def left_out(source: Source) -> list[str]:
    """Return a note that counts the files of a folder that its source does not read, by suffix."""
    if not source.path.is_dir():
        return []
    read = {os.path.abspath(file) for file in source.files}
    counts = Counter(_suffix(file) for file in regular_files(source.path) if os.path.abspath(file) not in read)
    if not counts:
        return []
    listed = shortened([f"{count:,} {suffix or 'without suffix'}" for suffix, count in counts.most_common()], 5)
    remedies = [f"{suffix}: {remedy}" for suffix in counts if (remedy := sample_remedy(suffix))]
    return ["; ".join([f"{counts.total():,} files of the folder are left out: {listed}", *remedies])]


def _suffix(file: Path) -> str:
    return "".join(file.suffixes[-2:] if file.suffix == ".gz" else file.suffixes[-1:]).lower()
