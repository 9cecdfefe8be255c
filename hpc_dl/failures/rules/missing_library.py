"""A shared library cannot be found on the node."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class MissingLibrary(Rule):
    """What the dynamic linker says about a file."""

    patterns = (r"(?P<name>[\w.+-]+\.so[\d.]*): cannot open shared object file",)
    cause = "the shared library {name} cannot be found on the node"
    remedy = (
        "load the module that has it in `modules` of the site profile, set LD_LIBRARY_PATH under "
        "`environment`, or install the package again on a compute node"
    )
    keys = ("modules", "environment")
