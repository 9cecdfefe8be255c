"""Load of each node and its GPUs, under the names of W&B's own system metrics.

The node of rank 0 reports to W&B. Each other one keeps its newest measurement in the run folder,
from where rank 0 takes it, so that only one process needs a network and the API key.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from hpc_dl.atomic_files import write_json
from hpc_dl.regular_files import read_json

INTERVAL_S = 15.0
"""Between two measurements."""
_NODES = Path("wandb", "nodes")
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
                with suppress(ValueError):  # a GPU that cannot measure it reports text instead
                    values[f"system.gpu.{index}.{name}"] = float(text) * (_MIB if name.endswith("Bytes") else 1)
        return values


class NodeMonitor:
    """A thread that measures a node without rank 0, while rank 0 wants it."""

    def __init__(self, run_folder: Path, node: str | None = None) -> None:
        """Start measuring.

        Args:
            run_folder: the run.
            node: name of the node; by default as Slurm or the machine says.
        """
        self._node = (node or os.environ.get("SLURMD_NODENAME") or socket.gethostname()).replace("/", "-")
        self._folder = run_folder / _NODES
        self._metrics = SystemMetrics(run_folder, time.time())
        self._over = threading.Event()
        threading.Thread(target=self._run, name="load of this node", daemon=True).start()

    def stop(self) -> None:
        """Stop measuring."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.is_set():
            if self._folder.is_dir():
                with suppress(OSError, ValueError):  # a full disk: these numbers are not worth a message
                    write_json(self._folder / f"{self._node}.json", self._metrics.measure())
            self._over.wait(INTERVAL_S)


class OtherNodes:
    """The measurements of the nodes without rank 0, as rank 0 reports them."""

    def __init__(self, run_folder: Path) -> None:
        """Request measurements from the other nodes from now on."""
        self._folder = run_folder / _NODES
        self._newest: dict[str, float] = {}
        self._since = time.time()
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)

    def take(self, started: float) -> list[dict[str, Any]]:
        """Return what was measured since the last call; each name ends with the node's, as in W&B.

        Args:
            started: when the run started, in seconds since the epoch.
        """
        rows = []
        for path in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError, AttributeError, TypeError):  # damaged
                measured = dict(read_json(path))
                if (now := float(measured.pop("_timestamp"))) > self._newest.get(path.stem, self._since):
                    self._newest[path.stem] = now
                    values = {
                        f"{name}/l:{path.stem}": value for name, value in measured.items() if name.startswith("system.")
                    }
                    place = {"_wandb": True, "_timestamp": now, "_runtime": max(0.0, now - started)}
                    rows.append(place | values)
        return rows
