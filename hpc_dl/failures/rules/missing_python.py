"""The Python of the job does not exist on the node."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class MissingPython(Rule):
    """What the shell, srun and slurmstepd say about the command."""

    patterns = (
        r"execve\(\): (?P<name>\S*python\S*): (?:No such file or directory|Permission denied)",
        r"(?P<name>\S*python[\d.]*): (?:No such file or directory|(?:command )?not found|cannot execute)",
        r"bad interpreter: .*",
    )
    sources = ("output",)
    cause = "the Python that was used to submit does not exist on the node: {name}"
    remedy = (
        "create the environment in a folder that the compute nodes see, or load its module in "
        "`modules` of the site profile"
    )
    keys = ("modules", "setup")
