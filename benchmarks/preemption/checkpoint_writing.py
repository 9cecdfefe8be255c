"""The time to write and to verify a checkpoint, next to a bare ``torch.save``."""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hpc_dl.runs import checkpoints
from hpc_dl.training.stopping.checkpoint_interval import FIRST_AUTO_S, LARGEST_SHARE


def checkpoint_times(folder: Path, size: int) -> dict[str, Any]:
    """Measure seconds to write and to verify a checkpoint of ``size`` bytes."""
    content = {"weights": torch.randn(size // 4)}
    target = folder / f"checkpoints-{size}"
    target.mkdir()
    times: dict[str, list[float]] = {"ours": [], "torch.save": [], "torch.save, fsync": [], "verify": []}

    def measure(name: str, work: Callable[[], Any]) -> None:
        start = time.perf_counter()
        work()
        times[name].append(time.perf_counter() - start)

    def save_only(sync: bool) -> None:
        with (target / "bare").open("wb") as file:
            torch.save(content, file)
            if sync:
                file.flush()
                os.fsync(file.fileno())

    def write(step: int) -> None:
        checkpoints.write(target, "step", step, lambda file: torch.save(content, file))

    for step in range(7):
        measure("torch.save", lambda: save_only(False))
        measure("torch.save, fsync", lambda: save_only(True))
        measure("ours", lambda step=step: write(step))  # type: ignore[misc]
        measure("verify", lambda: checkpoints.newest_intact(target, print))
        checkpoints.prune(target)
    shutil.rmtree(target)
    medians = {name: statistics.median(values) for name, values in times.items()}
    interval = max(FIRST_AUTO_S, medians["ours"] / LARGEST_SHARE)
    start = time.perf_counter()
    hashlib.sha256(bytes(size)).digest()
    return {
        "bytes": size,
        **{f"{name}_s": value for name, value in medians.items()},
        "sha256_s": time.perf_counter() - start,
        "auto_interval_s": interval,
        "auto_share": medians["ours"] / (interval + medians["ours"]),
    }
