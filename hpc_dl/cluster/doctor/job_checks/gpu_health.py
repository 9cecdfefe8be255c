"""The health of each rank's GPU: memory errors, throttled clocks, memory that others use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank, places

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_GIB = 2**30
_OWN_GIB = 2.0  # CUDA's context, NCCL's buffers
# Of nvml.h; lower clocks because of power or idleness are normal.
_THROTTLED = {0x08: "hardware slowdown", 0x20: "temperature", 0x40: "temperature", 0x80: "power supply"}


class GpuHealth(JobCheck):
    """Asks NVML, where the package ``nvidia-ml-py`` is installed in the environment of the job."""

    why = "The training is slow, runs out of memory, or computes wrong values"
    remedy = "report the node to your site, and leave it out with `sbatch: {exclude: NODE}` in the site profile"

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return errors, reasons of throttling, and memory in use; empty without NVML or a GPU."""
        try:
            import pynvml
        except ImportError:
            return {}
        if rank.device == "cpu":
            return {}
        import torch

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(rank.device).uuid)
        gpu = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
        own = torch.cuda.memory_reserved(rank.device)
        values: dict[str, Any] = {"others_gib": (pynvml.nvmlDeviceGetMemoryInfo(gpu).used - own) / _GIB}
        with suppress(pynvml.NVMLError):  # not all GPUs count errors
            values["uncorrected_errors"] = pynvml.nvmlDeviceGetTotalEccErrors(
                gpu, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            )
        with suppress(pynvml.NVMLError):
            values["throttled"] = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)
        return values

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one for each fault of a GPU."""
        for each in measured:
            where, values = places([each]), each.values
            if errors := values.get("uncorrected_errors"):
                yield Finding(f"{where}: the GPU counts {errors} uncorrected memory errors", self.why, self.remedy)
            if reasons := sorted({text for bit, text in _THROTTLED.items() if values.get("throttled", 0) & bit}):
                what = f"{where}: the GPU lowers its clocks ({', '.join(reasons)})"
                yield Finding(what, self.why, self.remedy, fatal=False)
            if values["others_gib"] > _OWN_GIB:
                what = f"{where}: {values['others_gib']:.1f} GiB of the GPU's memory are used by others"
                yield Finding(what, self.why, f"request whole GPUs; else {self.remedy}", fatal=False)
