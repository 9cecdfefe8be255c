"""A data file is damaged."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class Hdf5Corrupt(Rule):
    """HDF5's and hpc_dl's messages."""

    patterns = (
        r"filter returned failure|inflate\(\) failed|(?:can't|unable to) decompress",
        r"data error detected by Fletcher32|LZF.*(?:error|failed)",
        r"truncated file: eof = \d+",
        r"file signature not found|bad heap|wrong B-tree signature|[Ii]ncorrect metadata checksum",
        r"bad (?:object header|superblock|heap|B-tree|symbol table).*(?:version|signature|number|checksum)",
        r"^(?P<file>/?\S+\.(?:h5|hdf5|hdf|nxs|mat)\S*): is (?:damaged|truncated|empty|not an HDF5 file)",
        r"(?i)checksum.*(?:does not match|mismatch|differs)",
        r"[Cc]an't read data.*(?:wrong|error|fail)",
    )
    cause = "the data file is damaged, or was not copied completely"
    remedy = "find the damaged part with `hpc-dl data verify FILE`, and copy or create the file again"
    keys = ("data.file",)
