"""A package has no such name: its version does not fit."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class ImportFailed(Rule):
    """Python's message."""

    patterns = (
        r"^ImportError: cannot import name '?(?!StrEnum|Self\b|override|batched)(?P<name>\w+)'? from "
        r"(?:partially initialized module )?"
        r"'(?P<package>[\w.]+)'",
        r"^AttributeError: module '(?P<package>[\w.]+)' has no attribute '(?P<name>\w+)'",
        r"^ImportError: .*?(?P<package>[\w.+-]+\.so\S*): undefined symbol: (?!_?Py)(?P<name>\w+)",
        r"^ImportError: (?P<package>.*(?:initialization failed|failed to import|multiarray).*)",
        r"A module that was compiled using (?P<package>NumPy 1\.x) cannot be run in",
    )
    cause = "a package does not fit the code that imports it: {package} {name}"
    remedy = (
        "install the version that the code was written for (`pip install 'PACKAGE==VERSION'`), the "
        "same for all packages that depend on it; for your own module, correct the import"
    )
