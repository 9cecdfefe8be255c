"""The data file changed while the run used it."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class DataChanged(Rule):
    """hpc_dl's own check."""

    patterns = (
        r"(?P<file>\S+): (?:has )?changed (?:since|while|during)",
        r"was (?:replaced|overwritten|changed|modified) (?:while|since|during)",
    )
    cause = "the data file was changed while the run used it"
    remedy = (
        "restore the file and resume, or start a new run with the new file; write a file under "
        "another name and rename it when it is complete"
    )
    keys = ("data.file",)
