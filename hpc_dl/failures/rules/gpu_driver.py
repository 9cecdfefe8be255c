"""The node's GPU driver or its GPU does not fit the installed torch."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class GpuDriver(Rule):
    """What CUDA and torch say."""

    patterns = (
        r"CUDA driver version is insufficient",
        r"NVIDIA driver on your system is too old",
        r"no kernel image is available for execution",
        r"CUDA error: (?:system not yet initialized|forward compatibility|device kernel image is invalid)",
        r"not compatible with the current PyTorch installation",
        r"(?i)driver/library version mismatch",
        r"unsupported display driver|system has unsupported",
    )
    cause = "the driver or the GPU of the node does not fit the installed torch"
    remedy = (
        "install a torch that was built for this driver and GPU (https://pytorch.org/get-started), or"
        " choose other nodes with `constraint`, `partition` or `gpu_type` in the site profile"
    )
    keys = ("constraint", "partition", "gpu_type")
