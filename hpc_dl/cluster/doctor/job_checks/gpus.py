"""The GPUs that each rank sees, and the driver against the CUDA version of torch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hpc_dl.cluster.doctor.check import Finding
from hpc_dl.cluster.doctor.job_check import JobCheck, Measured, Rank, places

if TYPE_CHECKING:
    from hpc_dl.config.experiment import Experiment


class Gpus(JobCheck):
    """As many as requested must be visible to every rank, of the same model."""

    why = "The training stops, or runs on the CPU instead"
    remedy = "run `nvidia-smi` in a job, and show your site what it prints"

    def measure(self, rank: Rank) -> dict[str, Any]:
        """Return the models of the visible GPUs, and the versions of torch, CUDA and the driver."""
        if rank.experiment.resources.gpus_per_node == 0 or rank.experiment.trainer.accelerator == "cpu":
            return {}
        import torch

        return {
            "models": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
            "torch": torch.__version__,
            "torch_cuda": torch.version.cuda,
            "driver_cuda": _cuda_of_driver(),
        }

    def findings(self, measured: Sequence[Measured], experiment: Experiment) -> Iterator[Finding]:
        """Yield one for each way in which ranks lack GPUs, and one if the models differ."""
        wanted = experiment.resources.gpus_per_node
        problems: dict[tuple[str, str], list[Measured]] = {}
        for each in measured:
            if len(each.values["models"]) < wanted:
                problems.setdefault(_cause(each.values, wanted), []).append(each)
        for (what, remedy), ranks in problems.items():
            yield Finding(f"{places(ranks)}: {what}", self.why, remedy)
        if len(models := {model for each in measured for model in each.values["models"]}) > 1:
            remedy = "set `gpu_type` or `constraint` in the site profile"
            what = f"GPUs of different models: {', '.join(sorted(models))}"
            yield Finding(what, "All ranks wait for the slowest one in every step", remedy, fatal=False)

    def summary(self, measured: Sequence[Measured]) -> str:
        """Return the model."""
        return next((f"{len(models)} x {models[0]}" for each in measured if (models := each.values["models"])), "")


def _cause(values: dict[str, Any], wanted: int) -> tuple[str, str]:
    """Why a rank sees too few GPUs, and what helps."""
    torch, torch_cuda, driver_cuda = values["torch"], values["torch_cuda"], values["driver_cuda"]
    if torch_cuda is None:
        return f"torch {torch} is built without CUDA", "install a build of torch with CUDA (see pytorch.org)"
    if driver_cuda is None:
        where = "in a container, hpc_dl passes `--nv`; else the node has no driver"
        return "the driver of the GPUs (libcuda.so.1) was not found", f"{where}: ask your site"
    if _number(driver_cuda) < _number(torch_cuda):
        what = f"the driver supports CUDA up to {driver_cuda}, torch {torch} needs {torch_cuda}"
        return what, f"install a build of torch for CUDA {driver_cuda} or older, or ask your site for a newer driver"
    count = len(values["models"])
    remedy = "remove `gpus-per-task` and `gpu-bind` from `sbatch` in the site profile, or request fewer GPUs"
    return f"torch sees {count} of {wanted} GPUs", remedy


def _number(version: str) -> tuple[int, ...]:
    """The major version: within one, drivers run programs of newer minor versions (since 11)."""
    return tuple(int(part) for part in version.split(".")[:1])


def _cuda_of_driver() -> str | None:
    """The newest version of CUDA that the driver supports; ``None`` without a driver."""
    number = ctypes.c_int()
    with suppress(OSError, AttributeError):
        if ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number)) == 0:
            return f"{number.value // 1000}.{number.value % 1000 // 10}"
    return None
