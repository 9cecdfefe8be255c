"""Some ranks never came to the rendezvous."""

from __future__ import annotations

from hpc_dl.failures.rule import Order, Rule


class RendezvousTimeout(Rule):
    """What torch's store says after waiting for half an hour."""

    order = Order.WAITED
    patterns = (
        r"Timed out after \d+ seconds waiting for clients\. (?P<joined>\d+)/(?P<all>\d+) clients joined",
        r"(?:wait|connect)\w* timeout after \d+ms, keys:",
        r"The client socket has (?:timed out|failed to connect)",
    )
    cause = "the ranks could not meet: some did not start, or could not reach the first node over the network"
    remedy = (
        "see the log of each rank for one that did not start; if all did, a firewall or the network "
        "interface is in the way: set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME under `environment` "
        "in the site profile"
    )
    keys = ("environment",)
