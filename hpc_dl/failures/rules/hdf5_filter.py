"""A dataset is compressed with a filter that is not installed."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Hdf5Filter(Rule):
    """HDF5's and hpc_dl's message."""

    patterns = (
        r"required filter '?(?P<name>[^']*)'? is not registered",
        r"(?i)filter .*(?:is not (?:available|registered|installed)|not known to)",
        r"can't (?:open|find) plugin|unable to load .*plugin|can't open directory.*plugin",
    )
    cause = "a dataset is compressed with a filter that HDF5 does not have here ({name})"
    remedy = (
        "`pip install hdf5plugin` in the environment of the job (or in the image of `container`), or "
        "pack the file again with `hpc-dl data pack`"
    )
    keys = ("data.file", "container")
