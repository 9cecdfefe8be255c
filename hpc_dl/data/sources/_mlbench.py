"""Data frames of the R package mlbench, from Debian's package ``r-cran-mlbench``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hpc_dl.data.sources import Source
from hpc_dl.data.sources._fetch import find_file, package_files
from hpc_dl.data.sources._rdata import read_rdata


def read_mlbench(source: Source, frame: str, given: Path | None) -> tuple[dict[str, NDArray[Any]], Path, str]:
    """Read one data frame of mlbench.

    Args:
        source: the data set.
        frame: name of the data frame, and of its ``.rda`` file.
        given: the package, or a folder with the file, that the user downloaded.

    Returns:
        The columns by name, the path of the file, and where the package came from.

    Raises:
        DataError: the package cannot be fetched, or the file is missing or damaged.
    """
    with package_files(source.name, "deb:r-cran-mlbench", given) as (folder, origin):
        file = find_file(folder, f"{frame}.rda")
        return read_rdata(file)[frame], file, origin
