"""Readers of shuffled batches: hpc_dl, two limits, and what users write by hand with h5py.

A reader is a function of folder and data set that opens what it needs. It returns a function that
maps the number of an epoch to its batches: pairs of tensors, x as stored and y int64.
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

from benchmarks.reading.data_sets import DataSet, chunked_layouts, hdf5_file, labels, raw_values
from hpc_dl.data.datamodule import HDF5DataModule

Batch = tuple[Tensor, Tensor]
Epochs = Callable[[int], Iterator[Batch]]
Reader = Callable[[Path, DataSet], Epochs]
HPC_DL = "hpc_dl, contiguous"


# --- hpc_dl -------------------------------------------------------------------------------------


def hpc_dl(folder: Path, data: DataSet, *, layout: str) -> Epochs:
    """Read with the train loader of the data module; scaling happens later, on the device."""
    return epochs_of(HDF5DataModule(hdf5_file(folder, data, layout), batch_size=data.batch).train_dataloader())


def epochs_of(loader: Any) -> Epochs:
    """Return the epochs of a loader, which is informed of their number as Lightning does it."""
    from lightning_fabric.utilities.data import _set_sampler_epoch

    def epoch(number: int) -> Iterator[Batch]:
        _set_sampler_epoch(loader, number)
        return iter(loader)

    return epoch


# --- limits -------------------------------------------------------------------------------------


def memmap(folder: Path, data: DataSet) -> Epochs:
    """Index a memory-mapped raw file with random rows."""
    x, y = raw_values(folder, data), labels(data)

    def epoch(number: int) -> Iterator[Batch]:
        order = np.random.default_rng(number).permutation(data.samples)
        for start in range(0, data.samples - data.batch + 1, data.batch):
            rows = order[start : start + data.batch]
            yield torch.from_numpy(x[rows]), torch.from_numpy(y[rows])

    return epoch


def tensor_in_memory(folder: Path, data: DataSet) -> Epochs:
    """Select random rows of a tensor that holds the whole data set."""
    x, y = torch.from_numpy(np.array(raw_values(folder, data))), torch.from_numpy(labels(data))

    def epoch(number: int) -> Iterator[Batch]:
        order = torch.randperm(data.samples, generator=torch.Generator().manual_seed(number))
        for start in range(0, data.samples - data.batch + 1, data.batch):
            rows = order[start : start + data.batch]
            yield x.index_select(0, rows), y.index_select(0, rows)

    return epoch


# --- by hand with h5py --------------------------------------------------------------------------


class NaiveDataset(Dataset[Any]):
    """Looks up its HDF5 datasets for each sample, as most tutorials do."""

    def __init__(self, path: Path, samples: int) -> None:
        self.path, self.samples = path, samples
        self.file: h5py.File | None = None  # opened at the first sample, in the worker process

    def __len__(self) -> int:
        return self.samples

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.file is None:
            self.file = h5py.File(self.path, "r")
        return torch.from_numpy(self.file["train/inputs"][index]), int(self.file["train/targets"][index])


class CachingDataset(Dataset[Any]):
    """Keeps the handle of its HDF5 dataset, and the labels in memory."""

    def __init__(self, path: Path, samples: int) -> None:
        self.path, self.samples = path, samples
        self._x: Any = None
        with h5py.File(path, "r") as file:
            self.y = file["train/targets"][:]

    def __len__(self) -> int:
        return self.samples

    @property
    def x(self) -> Any:
        """The HDF5 dataset, opened at the first access, in the worker process."""
        if self._x is None:
            self._x = h5py.File(self.path, "r")["train/inputs"]
        return self._x

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.from_numpy(self.x[index]), int(self.y[index])


class BatchingDataset(CachingDataset):
    """Reads the rows of a batch in one access."""

    def __getitems__(self, indices: list[int]) -> Batch:
        rows = np.sort(indices)
        return torch.from_numpy(self.x[rows]), torch.from_numpy(self.y[rows])


def by_hand(
    folder: Path, data: DataSet, *, kind: type[NaiveDataset | CachingDataset], workers: int, layout: str
) -> Epochs:
    """Read one of these datasets with a DataLoader."""
    dataset = kind(hdf5_file(folder, data, layout), data.samples if layout == "contiguous" else data.few)
    options: dict[str, Any] = {"collate_fn": without_collating} if kind is BatchingDataset else {}
    loader: DataLoader[Any] = DataLoader(
        dataset,
        data.batch,
        shuffle=True,
        drop_last=True,
        **options,
        **worker_options(workers),
        persistent_workers=workers > 0,
    )
    return lambda number: iter(loader)


def worker_options(workers: int) -> dict[str, Any]:
    """Return a DataLoader's arguments for forked workers; some packages change the start method."""
    return {"num_workers": workers, "multiprocessing_context": "fork" if workers else None}


def without_collating(batch: Batch) -> Batch:
    """Return a batch that is complete."""
    return batch


def own_readers() -> dict[str, Reader]:
    """Return hpc_dl, the limits and the readers by hand, by name."""
    layouts = ("contiguous", *chunked_layouts())
    readers: dict[str, Reader] = {f"hpc_dl, {layout}": functools.partial(hpc_dl, layout=layout) for layout in layouts}
    readers |= {"np.memmap": memmap, "tensor in memory": tensor_in_memory}
    kinds: dict[str, type[NaiveDataset | CachingDataset]] = {
        "naive h5py": NaiveDataset,
        "good naive h5py": CachingDataset,
        "__getitems__ h5py": BatchingDataset,
    }
    for name, kind in kinds.items():
        for workers in (0, 2):
            reader = functools.partial(by_hand, kind=kind, workers=workers, layout="contiguous")
            readers[f"{name}, {workers} workers"] = reader
    for workers in (0, 2):
        reader = functools.partial(by_hand, kind=NaiveDataset, workers=workers, layout="gzip")
        readers[f"naive h5py, gzip, {workers} workers"] = reader
    return readers
