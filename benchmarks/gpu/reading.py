"""Whether the GPU waits for HDF5: ResNet-18 on a file, compared with images on the device."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from benchmarks import experiments
from benchmarks.gpu.resnet import training_step
from benchmarks.gpu.setting import Batch, Setting, median_ratio, rates_in_turns
from benchmarks.gpu.throughput import flop_of_step, utilization
from benchmarks.reading.readers import epochs_of
from hpc_dl.data.datamodule import HDF5DataModule

ROUNDS = 5
FLOOR = 0.97  # of the rate with images on the device
SYNTHETIC = "synthetic data on the device"


def measure_small(setting: Setting) -> dict[str, Any]:
    """Measure 60,000 images of 1×28×28 in batches of 512."""
    return _measure(setting, setting.choose(60_000, 256), (1, 28, 28), setting.choose(512, 4), 200)


def measure_large(setting: Setting) -> dict[str, Any]:
    """Measure 8,000 images of 3×224×224 in batches of 256."""
    size = setting.choose(224, 32)
    return _measure(setting, setting.choose(8_000, 64), (3, size, size), setting.choose(256, 4), 60)


def _measure(setting: Setting, samples: int, shape: tuple[int, ...], batch: int, num_steps: int) -> dict[str, Any]:
    path = setting.folder / f"{shape[-1]}.h5"
    experiments.write_noise_images(path, {"train": samples}, shape)
    step = training_step(setting, shape[0], bf16=True)
    sources = {
        "hpc_dl, streamed": batches_of_file(setting, path, batch, resident=False),
        "hpc_dl, resident on the device": batches_of_file(setting, path, batch, resident=True),
    }
    ready = next(sources["hpc_dl, streamed"])
    sources[SYNTHETIC] = itertools.repeat(ready)
    flop_per_image = flop_of_step(step, *ready) / batch
    rates = rates_in_turns(setting, step, sources, setting.choose(ROUNDS, 1), setting.choose(num_steps, 2))
    path.unlink()
    results: dict[str, Any] = {"batch": batch, "flop_per_image": flop_per_image, "images_per_s": {}}
    for name, rates_of_source in rates.items():
        rate = statistics.median(rates_of_source)
        share = median_ratio(rates_of_source, rates[SYNTHETIC])
        results["images_per_s"][name] = {
            "images_per_s": rate,
            "of_synthetic": share,
            "waits": max(0.0, 1 - share),
            "utilization": utilization(rate, flop_per_image),
            "reached": share >= FLOOR,
        }
    return results


def batches_of_file(setting: Setting, path: Any, batch: int, *, resident: bool) -> Iterator[Batch]:
    """Yield batch after batch of the data module, scaled on the device, epoch after epoch.

    Args:
        setting: of the part.
        path: the data file.
        batch: samples of a batch.
        resident: keep the data set on the device.
    """
    module = HDF5DataModule(path, batch_size=batch, device_resident=resident)
    # All that the data module needs of a Trainer: the device of the batches.
    strategy = SimpleNamespace(root_device=setting.device)
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=0, world_size=1, strategy=strategy
    )
    epochs = epochs_of(module.train_dataloader())
    for number in itertools.count():
        for x, y in epochs(number):
            x, y = x.to(setting.device, non_blocking=True), y.to(setting.device, non_blocking=True)
            yield module.scaling(x), y
