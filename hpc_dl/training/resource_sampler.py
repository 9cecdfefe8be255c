"""A thread that measures what a rank uses: memory, CPU, GPU, and the share of waiting for data."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.usage_samples import Sample, SampleFile
from hpc_dl.training.job_cgroup import job_memory_bytes

INTERVAL_S = 10.0
"""Between two samples."""
_GIB = 2.0**30


class ResourceSampler:
    """Measures one rank every few seconds, until :meth:`stop`.

    A sample reads a few files of /proc and of the cgroup, and asks NVML where ``pynvml`` is
    installed: less than 1 ms of CPU time.
    """

    def __init__(self, run: RunFolder, rank: int, local_rank: int, waited_s: Callable[[], float]) -> None:
        """Start measuring.

        Args:
            run: the run.
            rank: number of this process.
            local_rank: its number on its node, which is that of its GPU.
            waited_s: returns the seconds that this attempt has waited for data so far.
        """
        self._file = SampleFile(run.usage, rank)
        self._gpu = local_rank
        self._waited_s = waited_s
        self._process = psutil.Process()
        self._before = (time.monotonic(), self._cpu_s([]), waited_s())
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample_regularly, name="resource samples", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end the thread."""
        self._stopped.set()
        self._thread.join(INTERVAL_S)  # on a file system that hangs, it may not end

    def _sample_regularly(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._stopped.wait(INTERVAL_S)
            with suppress(OSError):  # a full disk: these numbers are not worth a message
                self._file.append(self.measure())

    def measure(self) -> Sample:
        """Return what was used since the last call."""
        workers = _workers(self._process)
        now, cpu_s, waited_s = time.monotonic(), self._cpu_s(workers), self._waited_s()
        seconds = max(now - self._before[0], 1e-9)
        cpus, data = (cpu_s - self._before[1]) / seconds, (waited_s - self._before[2]) / seconds
        self._before = (now, cpu_s, waited_s)
        job_bytes = job_memory_bytes()
        return Sample(
            time=time.time(),
            seconds=seconds,
            rss_gib=sum(_rss(process) for process in [self._process, *workers]) / _GIB,
            cgroup_gib=None if job_bytes is None else job_bytes / _GIB,
            cpus=max(0.0, cpus),
            data=min(1.0, max(0.0, data)),
            **_gpu_use(self._gpu),
        )

    @staticmethod
    def _cpu_s(workers: list[psutil.Process]) -> float:
        """CPU seconds of this process and its workers, those that have ended included."""
        ended = os.times()
        running = 0.0
        for process in workers:
            with suppress(psutil.Error):
                times = process.cpu_times()
                running += times.user + times.system
        return time.process_time() + ended.children_user + ended.children_system + running


def _workers(process: psutil.Process) -> list[psutil.Process]:
    """The children of the main thread, if the kernel lists them; psutil would read all of /proc."""
    with suppress(OSError, ValueError, psutil.Error):
        names = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        return [psutil.Process(int(name)) for name in names]
    return []


def _rss(process: psutil.Process) -> int:
    with suppress(psutil.Error):
        return int(process.memory_info().rss)
    return 0


def _gpu_use(device: int) -> dict[str, float]:
    """Load, memory and power of the GPU, as far as NVML knows them; empty without a GPU."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return {}
    use = {}
    with suppress(Exception):  # without pynvml, or on a GPU that cannot measure it
        use["gpu"] = torch.cuda.utilization(device) / 100
    with suppress(Exception):
        use["gpu_gib"] = torch.cuda.device_memory_used(device) / _GIB
    with suppress(Exception):
        use["watts"] = torch.cuda.power_draw(device) / 1000
    return use
