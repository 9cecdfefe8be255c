"""Other formats and their loaders, used as their documentation says, on the same samples.

A peer that is not installed is left out: ``pip install --no-deps -r benchmarks/peers.txt`` installs
them.
"""

from __future__ import annotations

import functools
import importlib.metadata
from pathlib import Path
from typing import Any

from benchmarks.reading.data_sets import DataSet
from benchmarks.reading.peers_by_array import (
    tensordict_epochs,
    tensorstore_epochs,
    write_tensordict,
    write_zarr,
    zarr_epochs,
)
from benchmarks.reading.peers_by_sample import (
    litdata_epochs,
    streaming_epochs,
    webdataset_epochs,
    write_litdata,
    write_streaming,
    write_webdataset,
)
from benchmarks.reading.readers import Reader

#: The peers, by the name of their distribution.
PEERS = ("litdata", "webdataset", "mosaicml-streaming", "zarr", "tensorstore", "tensordict")
#: Those that read sample by sample.
BY_SAMPLE: dict[str, Any] = {
    "litdata": litdata_epochs,
    "webdataset": webdataset_epochs,
    "mosaicml-streaming": streaming_epochs,
}
_BY_ARRAY: dict[str, Reader] = {
    "zarr": zarr_epochs,
    "tensorstore": tensorstore_epochs,
    "tensordict": tensordict_epochs,
}
_WRITERS = {
    "litdata": write_litdata,
    "webdataset": write_webdataset,
    "mosaicml-streaming": write_streaming,
    "zarr": write_zarr,
    "tensordict": write_tensordict,
}


def installed_versions() -> dict[str, str]:
    """Return the versions of the installed peers."""
    versions = {}
    for name in PEERS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def write(folder: Path, data: DataSet, peer: str) -> None:
    """Store a data set in a peer's format; tensorstore reads zarr's."""
    if peer in _WRITERS:
        _WRITERS[peer](folder, data)


def peer_readers() -> dict[str, Reader]:
    """Return the readers of the installed peers, by name."""
    installed = installed_versions()
    readers: dict[str, Reader] = {
        f"{name}, {workers} workers": functools.partial(epochs, workers=workers)
        for name, epochs in BY_SAMPLE.items()
        if name in installed
        for workers in (0, 2)
    }
    return readers | {
        name: reader
        for name, reader in _BY_ARRAY.items()
        if name in installed and (name != "tensorstore" or "zarr" in installed)
    }
