"""The job sees no GPU."""

from __future__ import annotations

from hpc_dl.failures.rule import Rule


class NoGpu(Rule):
    """What torch and Lightning say."""

    patterns = (
        r"torch sees \d+ GPUs? on this node",
        r"No supported gpu backend found",
        r"No CUDA GPUs are available",
        r"Found no NVIDIA driver on your system",
        r"no CUDA-capable device is detected",
        r"Torch not compiled with CUDA enabled",
        r"CUDA error: invalid device ordinal",
        r"You requested gpu: \[.*\]\s*But your machine only has",
        r"MisconfigurationException.*(?:CUDAAccelerator|gpu)",
    )
    cause = "a rank sees no GPU, or fewer than it needs"
    remedy = (
        "request GPUs (resources.gpus_per_node, `gpu_type` or `sbatch: {{gres: …}}` in the site "
        "profile), in a container with --nv under `container: {{args: …}}`, and install a torch with "
        "CUDA; resources.gpus_per_node=0 trains on CPUs"
    )
    keys = ("resources.gpus_per_node", "gpu_type", "sbatch", "container")
