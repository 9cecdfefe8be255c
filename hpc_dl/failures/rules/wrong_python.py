"""The code needs another version of Python, or of a package for it."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class WrongPython(Rule):
    """What Python and pip say."""

    patterns = (
        r"requires (?:a different )?Python[: ]",
        r"Requires-Python",
        r"Python (?:version )?[<>=]+ ?3[\d.]+ (?:is )?required",
        r"(?i)unsupported python version",
        r"^ImportError: cannot import name '(?P<name>StrEnum|Self|override|batched|tomllib)' from",
        r"^ModuleNotFoundError: No module named 'tomllib'",
        r"was compiled for Python|version mismatch: this is the .* built for Python",
        r"undefined symbol: _?Py\w+",
    )
    cause = "the job runs another version of Python than the code or a package needs"
    remedy = (
        "use the Python that you submitted with: put its module into `modules` of the site profile, "
        "and remove others from `setup`"
    )
    keys = ("modules", "setup")
