"""Batches of an HDF5 file for anyone's LightningModule and Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from hpc_dl.data.batches.loader import Batch, BatchLoader, ResidentLoader, tensors
from hpc_dl.data.batches.transform import transforming
from hpc_dl.data.config import (
    Augmentation,
    DataConfig,
    ImputationMethod,
    ProjectionMethod,
    ScalingMethod,
    Splits,
    Windows,
)
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.order.balance import Balance
from hpc_dl.data.order.batch_order import BatchOrder, Blocks
from hpc_dl.data.preprocessed_spec import presented
from hpc_dl.data.preprocessing.augmentation import augment
from hpc_dl.data.preprocessing.pipeline import Preprocessing, fit_preprocessing
from hpc_dl.data.preprocessing.scaling import Scaling
from hpc_dl.data.spec import DataSpec, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse

DEFAULT_BATCH_SIZE = 64
_LARGEST_EXACT_BYTES = 8 << 30
_RESIDENT_SHARE = 0.25

Loader = BatchLoader | ResidentLoader | DataLoader[Batch]


class HDF5DataModule(pl.LightningDataModule):
    """Train, validation and test batches ``(x, y)`` of one HDF5 file.

    In the LightningModule's steps x is float32 (B, *spec.input_shape), scaled; y is int64 (B,) for
    classification, float32 (B, spec.num_outputs) for regression, int64 (B, steps, or height and
    width) with one class at each position. Samples of different lengths come as a ``Ragged``;
    tokens stay int64. A file with several inputs or targets gives mappings of their names to these.
    Inputs travel to the device as stored (bytes, for images) and are converted and scaled there.
    Each process of a distributed run gets its own part of every batch, whether or not the Trainer
    has ``use_distributed_sampler=False``.

    Attributes:
        config: the ``data`` section this was built from.
        seed: seed of the order of the training samples.
        test_split: what a test reads; another one to judge a model by.
    """

    test_split = "test"

    def __init__(
        self,
        file: str | Path,
        *,
        batch_size: int | None = None,
        global_batch_size: int | None = None,
        inputs: str | Sequence[str] = "inputs",
        targets: str | Sequence[str] | None = "targets",
        windows: Windows | dict[str, int] | None = None,
        crop: Sequence[int] | None = None,
        splits: Splits | dict[str, Any] | None = None,
        task: Literal["auto", TaskName] = "auto",
        channels: Literal["auto", "first", "last", "none"] = "auto",
        shuffle: Literal["auto", "exact", "blocks"] = "auto",
        shuffle_buffer: float = 16,
        device_resident: Literal["auto", True, False] = "auto",
        transform: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
        imputation: ImputationMethod = "none",
        missing_indicator: bool = False,
        scaling: ScalingMethod = "auto",
        projection: ProjectionMethod = "none",
        components: int | None = None,
        balance: Balance = "none",
        augmentation: Augmentation | dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Describe the batches; the file is opened when ``spec`` or a loader is first asked for.

        Args:
            file: path of the HDF5 file.
            batch_size: samples in a batch on each device; 64 when neither size is given.
            global_batch_size: samples in a batch over all devices, in place of ``batch_size``.
            inputs: path of the inputs' dataset (within each split's group), or paths of several.
            targets: path of the targets' dataset, likewise; None with ``windows``: later steps of
                the stream.
            windows: cut samples from one long stream: ``{"length": 128, "stride": 64, "ahead":
                1}``.
            crop: size of crops from the last axes, at random places in training.
            splits: how the file is divided, as in the YAML: ``{"fractions": {"train": 0.8, "val":
                0.2, "test": 0}}``.
            task: what the targets are for.
            channels: axis of the channels in the stored inputs.
            shuffle: ``exact``, or by ``blocks`` of what lies together in the file.
            shuffle_buffer: MiB that are shuffled among each other with ``blocks``, and decoded at
                once.
            device_resident: keep all samples in the memory of the device; ``auto``: on a GPU, where
                they take at most a quarter of its free memory.
            transform: applied to each training batch on the host, as stored, before it is scaled:
                it takes the batch, one ``(x, y)`` or mapping of tensors, and returns what takes its
                place, in the range of the stored values, since scaling follows; what it draws from
                Python's, NumPy's and torch's generators depends on seed, epoch and batch alone.
            num_workers: processes that apply the transform; 0 for the training process itself.
                Reading needs none.
            imputation: what takes the place of missing values (NaN), fitted on the training split.
            missing_indicator: have further channels that say which values were missing.
            scaling: scaling of the inputs, fitted on the training split.
            projection: turn scaled vectors to their principal components, likewise.
            components: how many of these are kept.
            balance: make all classes equally frequent in training.
            augmentation: random changes of the training images, applied on the device after
                scaling.
            seed: seed of the order of the training samples.

        Raises:
            ConfigError: an argument is wrong or excludes another.
        """
        super().__init__()
        section = dict(
            file=str(file),
            batch_size=batch_size,
            global_batch_size=global_batch_size,
            inputs=_as_lists(inputs),
            targets=_as_lists(targets),
            windows=windows,
            crop=None if crop is None else list(crop),
            splits=Splits() if splits is None else splits,
            task=task,
            channels=channels,
            shuffle=shuffle,
            shuffle_buffer=float(shuffle_buffer),
            device_resident=device_resident,
            imputation=imputation,
            missing_indicator=missing_indicator,
            scaling=scaling,
            projection=projection,
            components=components,
            balance=balance,
            augmentation=Augmentation() if augmentation is None else augmentation,
        )
        if num_workers and transform is None:
            raise ConfigError.at(
                "HDF5DataModule.num_workers",
                "have nothing to do without a `transform`",
                value=num_workers,
                remedy="leave it out: reading needs no worker processes",
            )
        self._num_workers = num_workers
        self.config = parse(DataConfig, section, "HDF5DataModule")
        self.seed = seed
        self._data: DataFile | None = None
        self._transform = transform
        self._preprocessings: tuple[Preprocessing, ...] = ()
        self._missing: list[str] = []
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
        return presented(self._opened().spec, self.config)

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """What is done to each input, fitted on the training split at first use or restored from a
        checkpoint.
        """
        if not self._preprocessings:
            spec = self._opened().spec
            with self._opened().reader("train", threads=torch.get_num_threads()) as reader:
                fitted = [fit_preprocessing(reader, number, self.config) for number in range(len(spec.inputs))]
            self._preprocessings = tuple(preprocessing for preprocessing, _ in fitted)
            self._missing = [
                missing.in_words(field.name, self.config.imputation, self.config.missing_indicator, spec.class_names)
                for field, (_, missing) in zip(spec.inputs, fitted, strict=True)
                if missing is not None
            ]
        return self._preprocessings

    @property
    def scaling(self) -> Scaling:
        """The scaling of the first input."""
        return self.preprocessings[0].scaling

    def missing_in_words(self) -> list[str]:
        """A line for each input with values missing that were filled in; nothing after a checkpoint
        was loaded.
        """
        _ = self.preprocessings
        return [told for told in self._missing if told]

    def start_at(self, epoch: int, batch: int) -> None:
        """Begin the training batches in the middle, to go on from a checkpoint; in constant time.

        To be called before the training. The Trainer must know the same: nothing is left out of
        ``len(loader)``.

        Args:
            epoch: index of the epoch, from 0.
            batch: batches of that epoch to leave out, on each device.
        """
        self._start = (epoch, batch)

    def setup(self, stage: str) -> None:
        """Check the file and fit the preprocessing, before anything is built on them."""
        _ = self.preprocessings
        if self.trainer is not None and self.trainer.world_size > 1 and self.config.projection != "none":
            # Eigenvectors that belong to nearly the same variance may differ between kinds of
            # processors.
            self.load_state_dict(self.trainer.strategy.broadcast(self.state_dict()))

    def train_dataloader(self) -> Loader:
        """Shuffled batches of equal size; the last incomplete one is left out."""
        return self._loader("train", shuffle=True)

    def val_dataloader(self) -> Loader | list[Loader]:
        """All validation samples, each once; no loader where the file has no such split."""
        return self._loader("val", shuffle=False) if "val" in self.spec.sizes else []

    def test_dataloader(self) -> Loader:
        """All samples of ``test_split``, each once."""
        return self._loader(self.test_split, shuffle=False)

    def any_batch(self) -> Batch:
        """A training batch of the usual size, outside of the order: its first samples, as they are
        stored.
        """
        return self.batch_at("train", np.arange(self._batch_size(self.trainer.world_size if self.trainer else 1)))

    def batch_at(self, split: str, samples: NDArray[np.intp]) -> Batch:
        """The batch of some samples of a split, as they are stored; as in an evaluation, where
        something is drawn.
        """
        with self._opened().reader(split) as reader:
            found: Batch = self.spec.batch(tensors(reader.read(samples)))
            return found

    def preprocessed(self, batch: Batch, convert: Callable[[Any], Any] = lambda x: x) -> Batch:
        """Convert and preprocess the inputs of a batch, where it is.

        Args:
            batch: as a loader gives it.
            convert: applied to each preprocessed input.
        """
        if isinstance(batch, dict):
            names = (field.name for field in self.spec.inputs)
            each = zip(names, self.preprocessings, strict=True)
            return batch | {name: convert(preprocess(batch[name])) for name, preprocess in each}
        x, *rest = batch
        return (convert(self.preprocessings[0](x)), *rest)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Convert and scale a batch on the device; then the LightningModule's own hook of this name
        has its turn.
        """
        trainer = self.trainer
        if trainer is None:
            return self.preprocessed(batch)
        # Lightning fits floats to `precision` before the transfer, when images are still bytes.
        batch = self.preprocessed(batch, trainer.precision_plugin.convert_input)
        if trainer.training and self.config.augmentation != Augmentation():
            batch = self._augmented(batch)
        # Lightning calls either the data module's hook or the module's: an augmentation there would
        # be left out.
        finished: Batch = trainer.lightning_module.on_after_batch_transfer(batch, dataloader_idx)
        return finished

    def _augmented(self, batch: Batch) -> Batch:
        """Images and volumes, and the classes of their pixels where there are such."""
        assert not isinstance(batch, dict)
        x, *rest = batch
        if self.spec.task == "segmentation":
            return augment(self.config.augmentation, x, rest[0])
        return (augment(self.config.augmentation, x)[0], *rest)

    def state_dict(self) -> dict[str, Any]:
        """The preprocessing, kept in the checkpoint so that a model always meets the inputs that it
        learned from.
        """
        return {"preprocessings": [preprocessing.state_dict() for preprocessing in self.preprocessings]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the preprocessing from a checkpoint instead of fitting it."""
        self._preprocessings = tuple(map(Preprocessing.from_state_dict, state_dict["preprocessings"]))

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

    def _loader(self, split: str, *, shuffle: bool) -> Loader:
        config, data = self.config, self._opened()
        reader = data.reader(split, seed=self.seed, threads=torch.get_num_threads(), window_mib=config.shuffle_buffer)
        self._readers.append(reader)
        rank, num_ranks = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        order = BatchOrder(
            len(reader),
            self._batch_size(num_ranks),
            shuffle=shuffle,
            seed=self.seed,
            rank=rank,
            num_ranks=num_ranks,
            blocks=self._blocks(reader, shuffle),
            where=f"{self.spec.file}:{data.parts[split].inputs[0]}",
        )
        if shuffle:
            order.epoch, order.start_batch = self._start
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        transform = self._transform if shuffle else None
        if transform is None and (resident := self._resident(reader, order, device)) is not None:
            return resident
        loader = BatchLoader(reader, order, pin_memory=device.type == "cuda" and transform is None)
        if transform is None:
            return loader
        return transforming(loader, transform, self._num_workers, self.seed, pin_memory=device.type == "cuda")

    def _blocks(self, reader: SplitReader, shuffle: bool) -> Blocks | None:
        """What is read together. It follows from file and configuration alone: the order must be
        the same anywhere.
        """
        wanted = self.config.shuffle if shuffle else "auto"
        small = not shuffle or len(reader) * reader.bytes_per_sample <= _LARGEST_EXACT_BYTES
        if wanted == "exact" or (wanted == "auto" and reader.stored_one_by_one and small):
            return None
        return reader.blocks()

    def _resident(self, reader: SplitReader, order: BatchOrder, device: torch.device) -> ResidentLoader | None:
        """The whole split on the device, if that is wanted and possible."""
        wanted = self.config.device_resident
        kept = reader.spec.is_dense and not reader.spec.inputs[0].crop
        if wanted is True and not kept:
            raise ConfigError.at(
                "data.device_resident",
                "only single inputs of one shape can be kept on the device: no crops, no samples of different lengths",
                value=True,
                remedy="leave it out",
            )
        num_bytes = len(reader) * reader.bytes_per_sample
        if wanted == "auto" and (device.type != "cuda" or not kept):
            return None
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
        if wanted is True and num_bytes > free:
            raise ConfigError.at(
                "data.device_resident",
                f"{self.spec.file} takes {num_bytes / 2**30:.1f} GiB, {device} has {free / 2**30:.1f} GiB left",
                value=True,
                remedy="leave it out",
            )
        if wanted is False or (wanted == "auto" and num_bytes > _RESIDENT_SHARE * free):
            return None
        return ResidentLoader(reader, order, device)

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


def _as_lists(names: str | Sequence[str] | None) -> str | list[str] | None:
    return names if names is None or isinstance(names, str) else list(names)
