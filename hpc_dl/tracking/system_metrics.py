"""Load of the machine and its GPUs, under the names of W&B's own system metrics."""

from __future__ import annotations

import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

_TIMEOUT_S = 5.0
_GPU_FIELDS = {
    "utilization.gpu": "gpu",
    "utilization.memory": "memory",
    "memory.used": "memoryAllocatedBytes",
    "memory.total": "memoryTotalBytes",
    "temperature.gpu": "temp",
    "power.draw": "powerWatts",
}
_MIB = 2**20


class SystemMetrics:
    """Measurements of this process and its machine."""

    def __init__(self, folder: Path, started: float) -> None:
        """Prepare to measure.

        Args:
            folder: the run folder, whose disk is measured.
            started: when the run started, in seconds since the epoch.
        """
        self._folder = folder
        self._started = started
        self._process = psutil.Process()
        self._gpu_command = shutil.which("nvidia-smi")

    def measure(self) -> dict[str, Any]:
        """Return one row for W&B; what cannot be measured is absent."""
        now = time.time()
        row: dict[str, Any] = {"_wandb": True, "_timestamp": now, "_runtime": max(0.0, now - self._started)}
        with suppress(psutil.Error, OSError):
            row["system.cpu"] = psutil.cpu_percent()
            row["system.memory_percent"] = psutil.virtual_memory().percent
            row["system.proc.memory.rssMB"] = self._process.memory_info().rss / _MIB
            row["system.proc.memory.percent"] = self._process.memory_percent()
            row["system.proc.cpu.threads"] = self._process.num_threads()
            row["system.disk.usagePercent"] = psutil.disk_usage(str(self._folder)).percent
            network = psutil.net_io_counters()
            row |= {"system.network.sent": network.bytes_sent, "system.network.recv": network.bytes_recv}
        return row | self._gpus()

    def _gpus(self) -> dict[str, float]:
        if self._gpu_command is None:
            return {}
        command = [self._gpu_command, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
        try:
            output = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return {}
        values: dict[str, float] = {}
        for index, line in enumerate(output.splitlines()):
            for name, text in zip(_GPU_FIELDS.values(), line.split(","), strict=False):
                with suppress(ValueError):  # a GPU that cannot measure it says so in words
                    values[f"system.gpu.{index}.{name}"] = float(text) * (_MIB if name.endswith("Bytes") else 1)
        return values
