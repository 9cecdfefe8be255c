"""The setting in which the parts run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Setting:
    """The setting of a part.

    Attributes:
        device: that is measured.
        folder: for throw-away files.
        rehearse: whether to use tiny sizes.
    """

    device: torch.device
    folder: Path
    rehearse: bool

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def choose(self, size: int, tiny: int) -> int:
        """Return a size, or the tiny one for a rehearsal."""
        return tiny if self.rehearse else size

    def wait(self) -> None:
        """Wait until the device has finished its work."""
        if self.on_gpu:
            torch.cuda.synchronize()

    def overrides(self, **trainer: Any) -> dict[str, Any]:
        """Return the sections of a configuration that select the device."""
        if self.on_gpu:
            return {"trainer": {"accelerator": "gpu", **trainer}, "resources": {"gpus_per_node": 1}}
        return {"trainer": {"accelerator": "cpu", **trainer}, "resources": {"gpus_per_node": 0}}


def images_per_second(
    setting: Setting, step: Callable[[Tensor, Tensor], None], batches: Iterator[Batch], num_steps: int
) -> float:
    """Return the rate over some steps, until the device has finished the last one."""
    setting.wait()
    start, images = time.perf_counter(), 0
    for x, y in islice(batches, num_steps):
        step(x, y)
        images += len(x)
    setting.wait()
    return images / (time.perf_counter() - start)


def rates_in_turns(
    setting: Setting,
    step: Callable[[Tensor, Tensor], None],
    sources: dict[str, Iterator[Batch]],
    rounds: int,
    num_steps: int,
) -> dict[str, list[float]]:
    """Return the images per second of each round, after one round to warm up.

    Args:
        setting: of the part.
        step: one training step.
        sources: endless batches, by name; they take turns.
        rounds: number of turns.
        num_steps: steps of a turn.
    """
    rates: dict[str, list[float]] = {name: [] for name in sources}
    for batches in sources.values():
        images_per_second(setting, step, batches, max(2, num_steps // 5))
    for _ in range(rounds):
        for name, batches in sources.items():
            rates[name].append(images_per_second(setting, step, batches, num_steps))
    return rates


def median_ratio(rates: list[float], others: list[float]) -> float:
    """Return the median of the ratios of the same round."""
    return statistics.median(rate / other for rate, other in zip(rates, others, strict=True))
