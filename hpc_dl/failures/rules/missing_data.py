"""A file that the run needs does not exist on the node."""

from __future__ import annotations

from hpc_dl.failures.evidence import Evidence
from hpc_dl.failures.rule import Advice, Finding, Rule


class MissingData(Rule):
    """What hpc_dl, Python and HDF5 say about a file."""

    patterns = (
        r"^(?:\w+\.)*FileNotFoundError: .*?(?:'(?P<name>[^']+)'|$)",
        r"^(?P<name>\S*/\S+|\S+\.(?:h5|hdf5|csv|nc|mat)): does not exist",
        r"[Uu]nable to (?:synchronously )?open file \(unable to open file: name = '(?P<name>[^']+)', errno = 2\b",
        r"^(?P<name>/\S+): no such file or directory",
        r"^(?P<name>\S+): no such (?:dataset|group)",
    )
    sources = ("reason", "log", "output")

    def advice(self, finding: Finding, evidence: Evidence) -> Advice:
        """Name the file."""
        name = finding.groups.get("name", "") or "a file"
        return Advice(
            f"{name} does not exist on the node",
            "put it where the compute nodes see it, and correct data.file (or `data_dir` in the site profile); in a "
            "container bind its folder with `container: {binds: […]}`",
            ("data.file", "data_dir", "container"),
        )
