"""The speed of a matrix product in each rank, against that of the others."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank, places

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment

_SIZES = {"cpu": 512, "cuda": 4096}
_SECONDS = 1.0
#: Shares of the median below which a rank is an outlier; CPU cores are shared with other programs.
_SLOW = {"cpu": 0.3, "cuda": 0.85}


class MatrixProduct(JobCheck):
    """Finds a GPU or node that is slower than the others of its kind."""

    why = "All ranks wait for the slowest one in every step"
    remedy = "report the node to your site, and leave it out with `sbatch: {exclude: NODE}` in the site profile"

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the kind of device, and the best of many products, in TFLOP/s."""
        import torch

        device = torch.device(rank.device)
        if device.type == "cpu":
            torch.set_num_threads(rank.experiment.resources.cpus_per_gpu)
        size = _SIZES[device.type]
        matrix = torch.rand(size, size, device=device)
        best, deadline = float("inf"), time.perf_counter() + _SECONDS
        while (start := time.perf_counter()) < deadline:
            matrix @ matrix
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - start)
        return {"device": device.type, "tflops": 2 * size**3 / best / 1e12}

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one for each rank that is much slower than the median of its kind of device."""
        for device in sorted({each.values["device"] for each in measured}):
            same = [each for each in measured if each.values["device"] == device]
            usual = statistics.median_high(each.values["tflops"] for each in same)
            for each in same:
                if each.values["tflops"] < _SLOW[device] * usual:
                    what = f"{places([each])}: a matrix product reaches {each.values['tflops']:.3g} TFLOP/s"
                    yield Finding(f"{what}, the median is {usual:.3g}", self.why, self.remedy, fatal=False)

    def summary(self, measured: Sequence[Measured]) -> str:
        """Return the speeds of the slowest and the fastest rank."""
        speeds = [each.values["tflops"] for each in measured]
        return f"{min(speeds):.3g} to {max(speeds):.3g} TFLOP/s" if len(speeds) > 1 else f"{speeds[0]:.3g} TFLOP/s"
