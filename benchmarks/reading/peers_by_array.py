"""Formats that store an array: zarr, which tensorstore reads as well, and tensordict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.reading.data_sets import WINDOW_BYTES, DataSet, labels, peer_path, raw_values
from benchmarks.reading.readers import Batch, Epochs


def in_windows(data: DataSet, read: Callable[[list[slice]], Any], wait: Callable[[Any], Any]) -> Epochs:
    """Return shuffled batches from chunks: each window of random chunks is shuffled.

    Args:
        data: the data set.
        read: starts to read the chunks of a window.
        wait: returns the arrays of what ``read`` returned.

    The next window is requested before the batches of the current one are yielded.
    """
    y = labels(data)
    chunks = [slice(start, min(start + data.chunk, data.few)) for start in range(0, data.few, data.chunk)]
    per_window = max(1, WINDOW_BYTES // (data.chunk * data.sample_bytes))

    def epoch(number: int) -> Iterator[Batch]:
        generator = np.random.default_rng(number)
        order = generator.permutation(len(chunks))
        windows = [
            [chunks[chunk] for chunk in order[start : start + per_window]] for start in range(0, len(order), per_window)
        ]
        pending = read(windows[0])
        for position, window in enumerate(windows):
            parts = wait(pending)
            if position + 1 < len(windows):
                pending = read(windows[position + 1])
            x = np.concatenate(parts)
            classes = np.concatenate([y[chunk] for chunk in window])
            shuffled = generator.permutation(len(x))
            for start in range(0, len(x) - data.batch + 1, data.batch):
                rows = shuffled[start : start + data.batch]
                yield torch.from_numpy(x[rows]), torch.from_numpy(classes[rows])

    return epoch


def write_zarr(folder: Path, data: DataSet) -> None:
    """Store the samples in chunks compressed with zstd."""
    import zarr
    import zarr.codecs

    array = zarr.create_array(
        str(peer_path(folder, data, "zarr")),
        shape=(data.few, *data.shape),
        chunks=(data.chunk, *data.shape),
        dtype=data.dtype,
        compressors=zarr.codecs.ZstdCodec(level=3),
    )
    array[:] = raw_values(folder, data)[: data.few]


def zarr_epochs(folder: Path, data: DataSet) -> Epochs:
    """Read chunk by chunk; zarr decodes the bytes of a chunk in its own threads."""
    import zarr
    import zarr.codecs

    zarr.config.set({"threading.max_workers": 2})
    array = zarr.open_array(str(peer_path(folder, data, "zarr")), mode="r")
    return in_windows(data, lambda window: window, lambda window: [array[chunk] for chunk in window])


def tensorstore_epochs(folder: Path, data: DataSet) -> Epochs:
    """Read zarr's array; two threads decode, and prefetch the next window."""
    import tensorstore

    array = tensorstore.open(
        {
            "driver": "zarr3",
            "kvstore": {"driver": "file", "path": str(peer_path(folder, data, "zarr"))},
            "context": {"data_copy_concurrency": {"limit": 2}, "file_io_concurrency": {"limit": 2}},
        },
        read=True,
        open=True,
    ).result()
    return in_windows(
        data,
        lambda window: [array[chunk].read() for chunk in window],
        lambda futures: [future.result() for future in futures],
    )


def write_tensordict(folder: Path, data: DataSet) -> None:
    """Store the samples as a memory-mapped tensor."""
    from tensordict import MemoryMappedTensor

    values = torch.from_numpy(np.array(raw_values(folder, data)[: data.few]))
    MemoryMappedTensor.from_tensor(values, filename=str(peer_path(folder, data, "tensordict")))


def tensordict_epochs(folder: Path, data: DataSet) -> Epochs:
    """Select random rows of the memory-mapped tensor."""
    from tensordict import MemoryMappedTensor

    x = MemoryMappedTensor.from_filename(
        filename=str(peer_path(folder, data, "tensordict")),
        dtype=getattr(torch, data.dtype),
        shape=torch.Size((data.few, *data.shape)),
    )
    y = torch.from_numpy(labels(data))

    def epoch(number: int) -> Iterator[Batch]:
        order = torch.randperm(data.few, generator=torch.Generator().manual_seed(number))
        for rows in order.split(data.batch):  # type: ignore[no-untyped-call]
            if len(rows) == data.batch:
                yield x[rows], y[rows]

    return epoch
