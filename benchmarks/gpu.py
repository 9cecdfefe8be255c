"""Whether a GPU waits for HDF5: ResNet-18 on small and on large images, against data that is on the
device already.

``python -m benchmarks.gpu`` writes benchmarks/gpu.json and a section of docs/benchmarks.md; without
a GPU it says so.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.page import machine, table, told, write_section
from benchmarks.reading_ways import epochs_of

RESULTS = Path(__file__).with_name("gpu.json")
CLASSES = 10
ROUNDS = 5
WARM_UP, STEPS = 20, 200
FLOOR = 0.97

#: Samples, shape, batch.
SETS: dict[str, tuple[int, tuple[int, ...], int]] = {
    "A, 1×28×28": (60_000, (1, 28, 28), 512),
    "3×224×224": (8_000, (3, 224, 224), 256),
}
#: Most bf16 operations per second without sparsity, as the makers state them.
PEAKS = {"V100": 125e12, "A100": 312e12, "H100": 989e12, "H200": 989e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12}


class Block(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(num_in, num_out, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
            nn.ReLU(inplace=True),
            nn.Conv2d(num_out, num_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(num_out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or num_in != num_out:
            self.shortcut = nn.Sequential(nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, num_in, height, width) to (batch, num_out, height / stride, width / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


def resnet18(channels: int) -> nn.Sequential:
    """The 18-layer residual network (He et al., 2016)."""
    widths = [64, 64, 128, 256, 512]
    blocks = [
        Block(num_in if first else num_out, num_out, 2 if first and num_in != num_out else 1)
        for num_in, num_out in itertools.pairwise(widths)
        for first in (True, False)
    ]
    return nn.Sequential(
        nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, CLASSES),
    )


def steps_of(channels: int, device: torch.device) -> Callable[[Tensor, Tensor], None]:
    """A training step: bfloat16, channels last, SGD with momentum."""
    network: Any = resnet18(channels).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, torch.bfloat16):
            loss = nn.functional.cross_entropy(network(x.to(memory_format=torch.channels_last)), y)
        loss.backward()
        optimizer.step()

    return step


def synthetic(batch: tuple[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batch again and again, scaled and on the device."""
    return itertools.repeat(batch)


def from_file(module: Any, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch of the data module's batches, scaled on the device."""
    epoch = epochs_of(module.train_dataloader())
    for number in itertools.count():
        for x, y in epoch(number):
            yield module.scaling(x.to(device, non_blocking=True)), y.to(device, non_blocking=True)


def images_per_second(
    step: Callable[[Tensor, Tensor], None], batches: Iterator[tuple[Tensor, Tensor]], steps: int
) -> float:
    """Over some steps, the last one finished."""
    torch.cuda.synchronize()
    began, images = time.perf_counter(), 0
    for x, y in itertools.islice(batches, steps):
        step(x, y)
        images += len(x)
    torch.cuda.synchronize()
    return images / (time.perf_counter() - began)


def measure(folder: Path, name: str, device: torch.device) -> dict[str, Any]:
    """One set: from the file and with synthetic data, by turns."""
    from hpc_dl.data.datamodule import HDF5DataModule
    from hpc_dl.data.files.format import Samples, write

    samples, shape, batch = SETS[name]
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (samples, *shape), dtype=np.uint8)
    splits = {"train": Samples(images, np.arange(samples) % CLASSES)}
    path = folder / f"{shape[-1]}.h5"
    write(path, splits, source="noise", task="classification", license="CC0-1.0")
    del images, splits
    step = steps_of(shape[0], device)
    found: dict[str, Any] = {"batch": batch, "images_per_s": {}}
    sources: dict[str, Iterator[tuple[Tensor, Tensor]]] = {}
    for way, resident in (("hpc_dl, streamed", False), ("hpc_dl, resident on the device", True)):
        module = HDF5DataModule(path, batch_size=batch, device_resident=resident)
        # What the data module asks a Trainer for: where the batches go.
        strategy = SimpleNamespace(root_device=device)
        module.trainer = SimpleNamespace(global_rank=0, world_size=1, strategy=strategy)  # type: ignore[assignment]
        sources[way] = from_file(module, device)
    ready = next(sources["hpc_dl, streamed"])
    sources["synthetic data on the device"] = synthetic(ready)
    with FlopCounterMode(display=False) as counter:
        step(*ready)
    found["flop_per_image"] = counter.get_total_flops() / batch
    rates: dict[str, list[float]] = {way: [] for way in sources}
    for number in range(ROUNDS + 1):
        for way, batches in sources.items():
            rate = images_per_second(step, batches, STEPS if number else WARM_UP)
            if number:  # the first round warms up
                rates[way].append(rate)
    peak = next((peak for card, peak in PEAKS.items() if card in torch.cuda.get_device_name(device).split()), None)
    for way, own in rates.items():
        limits = rates["synthetic data on the device"]
        share = statistics.median(rate / limit for rate, limit in zip(own, limits, strict=True))
        rate = statistics.median(own)
        found["images_per_s"][way] = {
            "images_per_s": rate,
            "of_synthetic": share,
            "waits": max(0.0, 1 - share),
            "utilization": None if peak is None else rate * found["flop_per_image"] / peak,
            "reached": share >= FLOOR,
        }
    return found


def page(results: dict[str, Any]) -> list[str]:
    """The section's lines."""
    lines = [
        f"ResNet-18 in bfloat16 on one {results['card']}, {results['date']}: a plain loop over the data module's "
        "batches, scaled on the device, by turns with one batch that stays there; medians of "
        f"{ROUNDS} times {STEPS} steps. The floor: {FLOOR} of synthetic data. Utilization: floating-point operations "
        "of the network (counted by torch) against the card's stated peak in bfloat16. The GPU waits for what is "
        f"missing to the rate of synthetic data. {told(results['machine'])}",
        "",
    ]
    rows = []
    for name, found in results["sets"].items():
        for way, own in found["images_per_s"].items():
            used = "" if own["utilization"] is None else f"{100 * own['utilization']:.1f} %"
            share = f"{own['of_synthetic']:.3f}, {'reached' if own['reached'] else '**missed**'}"
            rows.append([f"{name}, {way}", f"{own['images_per_s']:,.0f}", share, f"{100 * own['waits']:.1f} %", used])
    return [*lines, *table(["", "images/s", "of synthetic data", "the GPU waits", "utilization"], rows)]


def main() -> int:
    """Measure, where there is a GPU."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures there, and nothing on the page")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(f"No GPU is visible to torch {torch.__version__}: there is nothing to measure.", file=sys.stderr)
        return 2
    device = torch.device("cuda")
    results: dict[str, Any] = {
        "machine": machine("torch", "numpy", "h5py"),
        "card": torch.cuda.get_device_name(device),
        "date": datetime.date.today().isoformat(),
    }
    with tempfile.TemporaryDirectory(prefix="hpc-dl-bench-") as temporary:
        results["sets"] = {name: measure(Path(temporary), name, device) for name in SETS}
    lines = page(results)
    (options.json or RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if options.json is None:
        write_section("GPU", lines)
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
