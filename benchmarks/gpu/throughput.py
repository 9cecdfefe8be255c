"""The throughput of a training step in fp32 and in bf16: images that are on the device already."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.resnet import CLASSES, training_step
from benchmarks.gpu.setting import Setting, rates_in_turns

ROUNDS = 3
#: Largest number of bf16 operations per second without sparsity, as the manufacturers state it.
PEAKS = {"V100": 125e12, "A100": 312e12, "H100": 989e12, "H200": 989e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}


def measure(setting: Setting) -> dict[str, Any]:
    """Measure ResNet-18 on 3×224×224 images."""
    torch.set_float32_matmul_precision("high")  # as hpc_dl does
    batch, size = setting.choose(256, 2), setting.choose(224, 32)
    x = torch.rand(batch, 3, size, size, device=setting.device)
    y = torch.randint(CLASSES, (batch,), device=setting.device)
    rounds = setting.choose(ROUNDS, 1)
    results: dict[str, Any] = {"batch": batch, "images_per_s": {}}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        step = training_step(setting, 3, bf16=bf16)
        if "flop_per_image" not in results:
            results["flop_per_image"] = flop_of_step(step, x, y) / batch
        rates = rates_in_turns(setting, step, {name: itertools.repeat((x, y))}, rounds, setting.choose(60, 1))
        results["images_per_s"][name] = statistics.median(rates[name])
    results["bf16_utilization"] = utilization(results["images_per_s"]["bf16"], results["flop_per_image"])
    return results


def flop_of_step(step: Any, x: torch.Tensor, y: torch.Tensor) -> int:
    """Count the floating-point operations of a step."""
    with FlopCounterMode(display=False) as counter:
        step(x, y)
    return int(counter.get_total_flops())


def utilization(images_per_s: float, flop_per_image: float) -> float | None:
    """Return the share of the card's peak in bf16; ``None`` if the peak is not known."""
    if not torch.cuda.is_available():
        return None
    name_parts = torch.cuda.get_device_name().split()
    peak = next((peak for card, peak in PEAKS.items() if card in name_parts), None)
    return None if peak is None else images_per_s * flop_per_image / peak
