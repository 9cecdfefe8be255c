"""A GPU is broken, or taken by another process."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class GpuFault(Rule):
    """What CUDA says about the hardware."""

    patterns = (
        r"(?i)uncorrectable (?:NVLink|ECC) error",
        r"GPU has fallen off the bus|GPU is lost|NVRM: Xid",
        r"CUDA-capable device\S* (?:is/)?are busy or unavailable",
        r"CUDA error: (?:hardware stack error|unknown error|unspecified launch failure|an uncorrectable)",
        r"Unable to determine the device handle",
    )
    cause = "a GPU of the node is broken or in use by another process"
    remedy = (
        "resume the run; leave the node out with `sbatch: {{exclude: NODE}}` in the site profile, and"
        " report it to the administrators"
    )
    keys = ("sbatch",)
