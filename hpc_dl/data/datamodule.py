"""Batches of an HDF5 file for anyone's LightningModule and Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torch.utils.data.distributed import DistributedSampler

from hpc_dl.data.config import DataConfig, Splits
from hpc_dl.data.opening import DataFile, open_data
from hpc_dl.data.order import BatchOrder
from hpc_dl.data.reader import SplitReader
from hpc_dl.data.scaling import Method, Scaling, fit_scaling
from hpc_dl.data.spec import DataSpec
from hpc_dl.data.workers import leave_signals_to_parent
from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse

DEFAULT_BATCH_SIZE = 64
# Types that torch lacks or hardly supports, and the next that holds all their values; float64 to halve the transfer.
_TORCH_TYPES = {"bool": "uint8", "uint16": "int32", "uint32": "int64", "uint64": "float32", "float64": "float32"}

Batch = tuple[Tensor, Tensor]


class HDF5DataModule(pl.LightningDataModule):
    """Train, validation and test batches ``(x, y)`` of one HDF5 file.

    In the LightningModule's steps x is float32 (B, *spec.input_shape), scaled; y is int64 (B,) for classification,
    float32 (B, spec.num_outputs) for regression. Inputs travel to the device as stored (bytes, for images) and are
    converted and scaled there. Each process of a distributed run gets its own part of every batch, whether or not
    the Trainer has ``use_distributed_sampler=False``.

    Attributes:
        config: the ``data`` section this was built from.
        seed: seed of the order of the training samples.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        batch_size: int | None = None,
        global_batch_size: int | None = None,
        inputs: str = "inputs",
        targets: str = "targets",
        splits: Splits | dict[str, Any] | None = None,
        task: Literal["auto", "classification", "regression"] = "auto",
        channels: Literal["auto", "first", "last", "none"] = "auto",
        num_workers: int = 0,
        scaling: Method = "auto",
        seed: int = 0,
    ) -> None:
        """Describe the batches; the file is opened when ``spec`` or a loader is first asked for.

        Args:
            file: path of the HDF5 file.
            batch_size: samples in a batch on each device; 64 when neither size is given.
            global_batch_size: samples in a batch over all devices, in place of ``batch_size``.
            inputs: path of the inputs' dataset (within each split's group).
            targets: path of the targets' dataset, likewise.
            splits: how the file is divided, as in the YAML: ``{"fractions": {"train": 0.8, "val": 0.2, "test": 0}}``.
            task: what the targets are for.
            channels: axis of the channels in the stored inputs.
            num_workers: loader processes for each device.
            scaling: scaling of the inputs, fitted on the training split.
            seed: seed of the order of the training samples.

        Raises:
            ConfigError: an argument is wrong or excludes another.
        """
        super().__init__()
        section = dict(
            file=str(file),
            batch_size=batch_size,
            global_batch_size=global_batch_size,
            inputs=inputs,
            targets=targets,
            splits=Splits() if splits is None else splits,
            task=task,
            channels=channels,
            num_workers=num_workers,
            scaling=scaling,
        )
        self.config = parse(DataConfig, section, "HDF5DataModule")
        self.seed = seed
        self._data: DataFile | None = None
        self._scaling: Scaling | None = None
        self._readers: list[SplitReader] = []
        self._start = (0, 0)

    @classmethod
    def from_config(cls, config: DataConfig, spec: DataSpec, seed: int = 0) -> HDF5DataModule:
        """Build from an experiment's ``data`` section.

        Args:
            config: the section.
            spec: what ``open_spec`` found for this section; names the file.
            seed: seed of the order of the training samples.
        """
        section = {name: getattr(config, name) for name in type(config).model_fields if name not in ("source", "file")}
        return cls(spec.file, **section, seed=seed)

    @property
    def spec(self) -> DataSpec:
        """Shapes, task and classes: what to build a model from.

        Raises:
            DataError: the file cannot be learned from.
        """
        return self._opened().spec

    @property
    def scaling(self) -> Scaling:
        """The scaling of the inputs, fitted on the training split at first use or restored from a checkpoint."""
        if self._scaling is None:
            with self._opened().reader("train") as reader:
                self._scaling = fit_scaling(reader, self.spec, self.config.scaling)
        return self._scaling

    def start_at(self, epoch: int, batch: int) -> None:
        """Begin the training batches in the middle, to go on from a checkpoint; in constant time.

        To be called before the training. The Trainer must know the same: nothing is left out of ``len(loader)``.

        Args:
            epoch: index of the epoch, from 0.
            batch: batches of that epoch to leave out, on each device.
        """
        self._start = (epoch, batch)

    def setup(self, stage: str) -> None:
        """Check the file and fit the scaling, before anything is built on them."""
        _ = self.scaling

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled batches of equal size; the last incomplete one is left out."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch] | list[DataLoader[Batch]]:
        """All validation samples, each once; no loader where the file has no such split."""
        return self._loader("val", shuffle=False) if "val" in self.spec.sizes else []

    def test_dataloader(self) -> DataLoader[Batch]:
        """All test samples, each once."""
        return self._loader("test", shuffle=False)

    def any_batch(self) -> Batch:
        """A training batch of the usual size, outside of the order: its first samples, as they are stored."""
        num_ranks = self.trainer.world_size if self.trainer else 1
        with self._opened().reader("train") as reader:
            return _Batches(reader)[np.arange(self._batch_size(num_ranks))]

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Convert and scale a batch on the device; then the LightningModule's own hook of this name has its turn."""
        x, y = batch
        x = self.scaling(x)
        if self.trainer is None:
            return x, y
        # Lightning fits floats to `precision` before the transfer, when images are still bytes.
        batch = self.trainer.precision_plugin.convert_input(x), y
        # Lightning calls either the data module's hook or the module's: an augmentation there would be left out.
        finished: Batch = self.trainer.lightning_module.on_after_batch_transfer(batch, dataloader_idx)
        return finished

    def state_dict(self) -> dict[str, Any]:
        """The scaling, kept in the checkpoint so that a model always meets the inputs that it learned from."""
        return {"scaling": self.scaling.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the scaling from a checkpoint instead of fitting it."""
        self._scaling = Scaling.from_state_dict(state_dict["scaling"])

    def teardown(self, stage: str) -> None:
        """Close the file."""
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    def _opened(self) -> DataFile:
        if self._data is None:
            assert self.config.file is not None
            self._data = open_data(Path(self.config.file).expanduser().absolute(), self.config)
        return self._data

    def _loader(self, split: str, *, shuffle: bool) -> DataLoader[Batch]:
        reader = self._opened().reader(split)
        self._readers.append(reader)
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        order = _RankedOrder(
            len(reader),
            self._batch_size(num_ranks),
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            num_ranks=num_ranks,
            where=f"{self.spec.file}:{self._opened().parts[split].inputs}",
        )
        if shuffle:
            order.epoch, order.start_batch = self._start
        num_workers = self.config.num_workers
        return DataLoader(
            _Batches(reader),
            sampler=order,
            batch_size=None,  # the sampler gives whole batches: one read for each, nothing to collate
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            worker_init_fn=leave_signals_to_parent,
            # Else each epoch's start would draw from torch's global generator.
            generator=torch.Generator().manual_seed(self.seed),
            pin_memory=self.trainer is not None and self.trainer.strategy.root_device.type == "cuda",
        )

    def _batch_size(self, num_ranks: int) -> int:
        """Samples in a batch on one device."""
        whole = self.config.global_batch_size
        if whole is None:
            return self.config.batch_size or DEFAULT_BATCH_SIZE
        if whole % num_ranks:
            raise ConfigError.at(
                "data.global_batch_size",
                f"does not divide among {num_ranks} devices",
                value=whole,
                remedy=f"use a multiple of {num_ranks}",
            )
        return whole // num_ranks


class _RankedOrder(BatchOrder, DistributedSampler):  # type: ignore[type-arg]
    """A BatchOrder that Lightning knows to be dealt to the ranks already.

    Under DDP Lightning wraps every sampler that is no DistributedSampler, which would deal the batches a second time.
    Only the type is used: all methods are BatchOrder's.
    """


class _Batches(Dataset[Batch]):
    """The samples of one split, indexed by whole batches of rows."""

    def __init__(self, reader: SplitReader) -> None:
        self._reader = reader

    def __getitem__(self, samples: NDArray[np.intp]) -> Batch:
        x, y = self._reader.read(samples)
        return torch.from_numpy(x.astype(_TORCH_TYPES.get(x.dtype.name, x.dtype), copy=False)), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self._reader)
