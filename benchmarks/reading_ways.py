"""The ways to read shuffled batches that are compared: ours, the limits, and what users write by
hand with h5py.

Each way is a function of folder and data set. It opens what it needs and gives a function that
gives the batches of an epoch, each a pair of tensors (x as stored, y int64).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from benchmarks.reading_sets import DataSet, codecs, hdf5, labels, raw

Batch = tuple[Tensor, Tensor]
Epoch = Callable[[int], Iterator[Batch]]
Way = Callable[[Path, DataSet], Epoch]


def shuffled(count: int, batch: int, epoch: int) -> Iterator[np.ndarray[Any, np.dtype[np.intp]]]:
    """Row numbers of whole batches in a random order."""
    order = np.random.default_rng(epoch).permutation(count)
    for start in range(0, count - batch + 1, batch):
        yield order[start : start + batch]


# --- hpc_dl -------------------------------------------------------------------------------------


def ours(folder: Path, data: DataSet, *, layout: str) -> Epoch:
    """The train loader of the data module, as a user gets it: batches before they are scaled on the
    device."""
    from hpc_dl.data.datamodule import HDF5DataModule

    return epochs_of(HDF5DataModule(hdf5(folder, data, layout), batch_size=data.batch).train_dataloader())


def epochs_of(loader: Any) -> Epoch:
    """The epochs of a loader, announced to it as Lightning does."""
    from lightning_fabric.utilities.data import _set_sampler_epoch

    def epoch(number: int) -> Iterator[Batch]:
        _set_sampler_epoch(loader, number)
        return iter(loader)

    return epoch


# --- limits -------------------------------------------------------------------------------------


def memmap(folder: Path, data: DataSet) -> Epoch:
    """A raw file, mapped, with fancy indexing."""
    x, y = raw(folder, data), labels(data)

    def epoch(number: int) -> Iterator[Batch]:
        for rows in shuffled(data.samples, data.batch, number):
            yield torch.from_numpy(x[rows]), torch.from_numpy(y[rows])

    return epoch


def tensor(folder: Path, data: DataSet) -> Epoch:
    """The whole set in a tensor."""
    x, y = torch.from_numpy(np.array(raw(folder, data))), torch.from_numpy(labels(data))

    def epoch(number: int) -> Iterator[Batch]:
        order = torch.randperm(data.samples, generator=torch.Generator().manual_seed(number))
        for start in range(0, data.samples - data.batch + 1, data.batch):
            rows = order[start : start + data.batch]
            yield x.index_select(0, rows), y.index_select(0, rows)

    return epoch


# --- by hand with h5py --------------------------------------------------------------------------


class Naive(Dataset[Any]):
    """Looks its datasets up for each sample, as most tutorials do; opens the file at the first one."""

    def __init__(self, path: Path, samples: int) -> None:
        self.path, self.samples, self.file = path, samples, None

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.file is None:
            self.file = h5py.File(self.path, "r")
        return torch.from_numpy(self.file["train/inputs"][index]), int(self.file["train/targets"][index])


class GoodNaive(Dataset[Any]):
    """Keeps the dataset's handle, and the labels in memory."""

    def __init__(self, path: Path, samples: int) -> None:
        self.path, self.samples, self.x = path, samples, None
        with h5py.File(path, "r") as file:
            self.y = file["train/targets"][:]

    def __len__(self) -> int:
        return self.samples

    def _open(self) -> Any:
        if self.x is None:
            self.x = h5py.File(self.path, "r")["train/inputs"]
        return self.x

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self._open()[index]), int(self.y[index])


class Batched(GoodNaive):
    """Fetches the rows of a batch by one fancy index."""

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = np.sort(indices)
        return torch.from_numpy(self._open()[rows]), torch.from_numpy(self.y[rows])


def by_hand(folder: Path, data: DataSet, *, kind: type[Naive | GoodNaive], workers: int, layout: str) -> Epoch:
    """One of these in a DataLoader."""
    dataset = kind(hdf5(folder, data, layout), data.samples if layout == "contiguous" else data.few)
    options: dict[str, Any] = {"collate_fn": as_it_is} if kind is Batched else {}
    loader: DataLoader[Any] = DataLoader(
        dataset,
        data.batch,
        shuffle=True,
        drop_last=True,
        **options,
        **processes(workers),
        persistent_workers=workers > 0,
    )
    return lambda number: iter(loader)


def processes(workers: int) -> dict[str, Any]:
    """Arguments of a DataLoader for so many forked workers; some packages change how processes
    start."""
    return {"num_workers": workers, "multiprocessing_context": "fork" if workers else None}


def as_it_is(batch: Batch) -> Batch:
    """A batch that needs no collating."""
    return batch


def ways() -> dict[str, Way]:
    """All of them by name."""
    found: dict[str, Way] = {
        f"hpc_dl, {layout}": functools.partial(ours, layout=layout) for layout in ("contiguous", *codecs())
    }
    found |= {"np.memmap": memmap, "tensor in memory": tensor}
    hands = {"naive h5py": Naive, "good naive h5py": GoodNaive, "__getitems__ h5py": Batched}
    for name, kind in hands.items():
        for workers in (0, 2):
            found[f"{name}, {workers} workers"] = functools.partial(
                by_hand, kind=kind, workers=workers, layout="contiguous"
            )
    for workers in (0, 2):
        found[f"naive h5py, gzip, {workers} workers"] = functools.partial(
            by_hand, kind=Naive, workers=workers, layout="gzip"
        )
    return found
