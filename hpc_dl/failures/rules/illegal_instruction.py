"""The program was built for another type of CPU."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class IllegalInstruction(Rule):
    """What srun, the launcher and the shell say about SIGILL."""

    patterns = (
        r"SIGILL",
        r"(?i)illegal instruction",
        r"^State=FAILED ExitCode=(?:0:4|132:0)\b",
    )
    cause = "the program was built for a newer CPU than the node has"
    remedy = "install the package again on such a node, or request other nodes with `constraint` in the site profile"
    keys = ("constraint", "partition")
