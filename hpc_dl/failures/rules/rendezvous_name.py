"""The ranks could not resolve the name of the node on which they meet."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class RendezvousName(Rule):
    """What torch's store and gloo say about the name."""

    patterns = (
        r"The (?:client socket|IPv[46] network addresses) .*\((?P<host>[^,()]+), \d+\).*cannot be retrieved",
        r"gai error: -?\d+ - (?P<why>.*)",
        r"\[Errno -[23]\] (?:Name or service not known|Temporary failure in name resolution)",
        r"getaddrinfo.*(?:Name or service not known|failed)",
    )
    cause = "the ranks could not meet: the name of the first node {host} cannot be resolved on another node"
    remedy = (
        "ask the administrators to make the names of nodes known on all nodes (DNS or /etc/hosts); to"
        " go on at once, use one node (resources.nodes=1)"
    )
    keys = ("resources.nodes",)
