"""The choice of the loader for a split: read ahead, resident on the device, or with a transform."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch.utils.data import DataLoader

from hpc_dl.data.batches.loader import Batch, BatchLoader, ResidentLoader
from hpc_dl.data.batches.transform import with_transform
from hpc_dl.data.config import DEFAULT_BATCH_SIZE, DataConfig
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.order.batch_order import BatchOrder, Blocks
from hpc_dl.errors import ConfigError

_MAX_EXACT_BYTES = 8 << 30
_MAX_RESIDENT_SHARE = 0.25  # of the GPU's free memory

Loader = BatchLoader | ResidentLoader | DataLoader[Batch]


@dataclass(frozen=True)
class Transform:
    """A user's transform of training batches.

    Attributes:
        function: takes a batch and returns its replacement.
        num_workers: number of processes that apply it; 0 for the training process.
    """

    function: Callable[[Any], Any]
    num_workers: int = 0


def batch_order(
    reader: SplitReader, config: DataConfig, *, training: bool, seed: int, rank: int, world_size: int
) -> BatchOrder:
    """Return the order of a split's samples, for one rank.

    Args:
        reader: reads the split.
        config: the ``data`` section.
        shuffle: True for training, False for evaluation.
        seed: seed of the order.
        rank: rank of this process.
        world_size: number of processes.

    Raises:
        ConfigError: the global batch size cannot be divided among the devices.
        DataError: there are too few samples for a batch on each rank.
    """
    return BatchOrder(
        len(reader),
        batch_size_per_device(config, world_size),
        training=training,
        seed=seed,
        rank=rank,
        world_size=world_size,
        blocks=_blocks(reader, config, training=training),
        where=reader.place,
    )


def choose_loader(
    reader: SplitReader, order: BatchOrder, config: DataConfig, device: torch.device, transform: Transform | None = None
) -> Loader:
    """Return the fastest loader that yields these batches.

    Args:
        reader: reads the split; serves the loader only.
        order: the samples of each batch.
        config: the ``data`` section.
        device: where the batches go.
        transform: applied to each batch; None for none.

    Raises:
        ConfigError: ``data.device_resident`` is set, but the split cannot be kept on the device.
    """
    on_gpu = device.type == "cuda"
    if transform is not None:
        loader = BatchLoader(reader, order)
        return with_transform(loader, transform.function, transform.num_workers, order.seed, pin_memory=on_gpu)
    if _is_resident(reader, config, device):
        return ResidentLoader(reader, order, device)
    return BatchLoader(reader, order, pin_memory=on_gpu)


def batch_size_per_device(config: DataConfig, world_size: int) -> int:
    """Return the number of samples per batch on each device.

    Raises:
        ConfigError: the global batch size cannot be divided among the devices.
    """
    global_size = config.global_batch_size
    if global_size is None:
        return config.batch_size or DEFAULT_BATCH_SIZE
    if global_size % world_size:
        raise ConfigError.at(
            "data.global_batch_size",
            f"cannot be divided among {world_size} devices",
            value=global_size,
            remedy=f"use a multiple of {world_size}",
        )
    return global_size // world_size


def _blocks(reader: SplitReader, config: DataConfig, *, training: bool) -> Blocks | None:
    """Return the blocks to shuffle by; None for the exact shuffle.

    They depend on file and configuration only, since the order must be the same on every machine.
    """
    setting = config.shuffle if training else "auto"
    small = not training or len(reader) * reader.bytes_per_sample <= _MAX_EXACT_BYTES
    if setting == "exact" or (setting == "auto" and reader.stored_one_by_one and small):
        return None
    return reader.blocks()


def _is_resident(reader: SplitReader, config: DataConfig, device: torch.device) -> bool:
    """Whether to keep the whole split on the device."""
    setting = config.device_resident
    possible = reader.spec.is_dense and not reader.spec.inputs[0].crop
    if setting is True and not possible:
        raise ConfigError.at(
            "data.device_resident",
            "needs a single input whose samples all have the same shape, and no crops",
            value=True,
            remedy="remove it",
        )
    if setting is False or (setting == "auto" and (device.type != "cuda" or not possible)):
        return False
    num_bytes = len(reader) * reader.bytes_per_sample
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if setting == "auto":
        return num_bytes <= _MAX_RESIDENT_SHARE * free
    if num_bytes > free:
        raise ConfigError.at(
            "data.device_resident",
            f"{reader.spec.file} takes {num_bytes / 2**30:.1f} GiB, but {device} has only {free / 2**30:.1f} GiB free",
            value=True,
            remedy="remove it, or use a device with more memory",
        )
    return True
