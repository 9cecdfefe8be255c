"""The port on which the ranks meet was taken by another process."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class RendezvousPort(Rule):
    """What torch's store says when it cannot listen."""

    patterns = (
        r"EADDRINUSE|errno: 98\b|[Ee]rrno 98\]",
        r"[Aa]ddress already in use",
        r"server socket has failed to listen on any local network address",
    )
    cause = "the ranks could not meet: their port was in use by another process on the node"
    remedy = (
        "resume the run: the next job has another port; if it happens again, request whole nodes with"
        " `exclusive: true` in the site profile"
    )
    keys = ("exclusive",)
