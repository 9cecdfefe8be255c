"""NCCL or gloo found no usable network interface."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class NetworkInterface(Rule):
    """What they say at the start."""

    patterns = (
        r"Bootstrap : no socket interface found",
        r"[Uu]nable to find address for: (?P<name>\S+)",
        r"makeDeviceForHostname\(\): unsupported gloo device",
        r"connecting to address .*is neither AF_INET|No interface found in the same subnet",
        r"NCCL_SOCKET_IFNAME.*(?:not found|no .*interface)",
    )
    cause = "the ranks could not connect: the network interface {name} does not exist on this node"
    remedy = (
        "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME under `environment` in the site profile to an "
        "interface that all nodes have (`ip -brief address` in a job lists them)"
    )
    keys = ("environment",)
