"""The process may not open more files."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class OpenFiles(Rule):
    """The error numbers EMFILE and ENFILE."""

    patterns = (
        r"(?i)too many open files",
        r"received 0 items of ancdata",
    )
    cause = "the limit of open files is reached"
    remedy = (
        "raise it with `ulimit -n 65536` under `setup` in the site profile; with own data loaders use"
        " fewer workers, or torch.multiprocessing.set_sharing_strategy('file_system')"
    )
    keys = ("setup",)
