"""A LightningDataModule for any HDF5 file, any LightningModule, and Lightning's own Trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from hpc_dl.data.batches.loader import Batch, tensors
from hpc_dl.data.batches.loader_choice import Loader, Transform, batch_order, batch_size_per_device, choose_loader
from hpc_dl.data.config import (
    Augmentation,
    BalanceMethod,
    ChannelSetting,
    DataConfig,
    ImputationMethod,
    ProjectionMethod,
    ScalingMethod,
    ShuffleMethod,
    Windows,
)  # fmt: skip
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.open_spec import data_path
from hpc_dl.data.preprocessed_spec import spec_after_preprocessing
from hpc_dl.data.preprocessing.augmentation import augment
from hpc_dl.data.preprocessing.pipeline import Preprocessing, fit_all
from hpc_dl.data.preprocessing.scaling import Scaling
from hpc_dl.data.spec import DataSpec, TaskName
from hpc_dl.data.split_config import Splits
from hpc_dl.errors import ConfigError
from hpc_dl.schema import parse


class HDF5DataModule(pl.LightningDataModule):
    """Train, validation and test batches ``(x, y)`` of one HDF5 file.

    In the steps of the LightningModule x is float32 (B, *spec.input_shape), scaled. y is int64 (B,)
    for classification, float32 (B, spec.num_outputs) for regression, and int64 (B, steps) or (B,
    height, width) with one class per position; -100 where there is none. Samples of different
    lengths come as a ``Ragged``; tokens stay int64. With several inputs or targets a batch is a
    mapping from their names to these. Inputs are copied to the device as stored, and scaled there.
    Each process of a distributed run gets its share of every batch, whether or not the Trainer has
    ``use_distributed_sampler=False``.

    Attributes:
        config: the ``data`` section that describes the batches.
        seed: seed of the order of the training samples.
        evaluated_split: the split that a test reads; set it to evaluate a model on another one.
    """

    evaluated_split = "test"

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
        classes: Literal["numbered", "remap"] | Sequence[int | float | str] = "numbered",
        ignore_label: int | str | None = None,
        channels: ChannelSetting = "auto",
        shuffle: ShuffleMethod = "auto",
        shuffle_buffer: float = 16,
        device_resident: Literal["auto", True, False] = "auto",
        transform: Callable[[Any], Any] | None = None,
        num_workers: int = 0,
        imputation: ImputationMethod = "none",
        missing_indicator: bool = False,
        scaling: ScalingMethod = "auto",
        projection: ProjectionMethod = "none",
        components: int | None = None,
        whitening_epsilon: float = 0.0,
        balance: BalanceMethod = "none",
        augmentation: Augmentation | dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        """Describe the batches; the file is opened on first access to ``spec`` or a loader.

        Most arguments are keys of the ``data`` section; docs/reference/configuration.md has more.

        Args:
            file: path of the HDF5 file.
            batch_size: samples per batch on each device; 64 if neither size is set.
            global_batch_size: samples per batch over all devices, instead of ``batch_size``.
            inputs: path of the inputs (within each split's group), or several paths.
            targets: path of the targets, or several; None for none or later steps of the inputs.
            windows: cut samples from one stream: ``{"length": 128, "stride": 64, "ahead": 1}``.
            crop: size of crops along the last axes.
            splits: ``{"fractions": {"train": 0.8, "val": 0.2, "test": 0}}``, for example.
            task: what the targets are for.
            classes: which class each stored label is: ``remap``, or a list of the labels.
            ignore_label: stored label of what has no class.
            channels: axis of the channels in the stored inputs.
            shuffle: exactly, or by blocks that are stored together.
            shuffle_buffer: MiB of samples that ``blocks`` shuffles together.
            device_resident: keep all samples in the memory of the device.
            transform: a function applied to each training batch on the host, before scaling: from
                ``(x, y)``, or a mapping, of stored values to its replacement in the same range.
                What it draws from Python, NumPy and torch depends on seed, epoch and batch only.
            num_workers: processes that apply the transform; 0 for the training process.
            imputation: what replaces missing values (NaN).
            missing_indicator: add channels that mark missing values.
            scaling: scaling of the inputs.
            projection: project scaled samples to their principal components, or whiten them.
            components: number of components to keep.
            whitening_epsilon: share of the mean variance that whitening adds to each variance.
            balance: make all classes equally frequent in training.
            augmentation: random changes of the training images, on the device after scaling.
            seed: seed of the order of the training samples.

        Raises:
            ConfigError: an argument is wrong or excludes another.
        """
        arguments = dict(locals())
        super().__init__()
        # The keywords are the keys of the section. None means its default, except for `targets`.
        given = [name for name in DataConfig.model_fields if name == "targets" or arguments.get(name) is not None]
        section = {name: _plain(arguments[name]) for name in given}
        if num_workers and transform is None:
            raise ConfigError.at(
                "HDF5DataModule.num_workers",
                "has no effect without a `transform`",
                value=num_workers,
                remedy="remove it: reading needs no worker processes",
            )
        self.config = parse(DataConfig, section, "HDF5DataModule")
        self.seed = seed
        self._transform = None if transform is None else Transform(transform, num_workers)
        self._data: DataFile | None = None
        self._preprocessings: tuple[Preprocessing, ...] = ()
        self._missing_values: list[str] = []
        self._readers: list[SplitReader] = []
        self._start = (0, 0)

    @classmethod
    def from_config(cls, config: DataConfig, spec: DataSpec, seed: int = 0) -> HDF5DataModule:
        """Build the data module of an experiment's ``data`` section.

        Args:
            config: the section.
            spec: what ``open_spec`` returned for this section; names the file.
            seed: seed of the order of the training samples.
        """
        others = ("source", "file", "stage", "group")  # the group of a sample is in no batch
        keys = [key for key in type(config).model_fields if key not in others]
        return cls(spec.file, **{key: getattr(config, key) for key in keys}, seed=seed)

    @property
    def spec(self) -> DataSpec:
        """Shapes, task and classes of the data, from which to build a model.

        Raises:
            DataError: the file cannot be used for training.
        """
        return spec_after_preprocessing(self._opened().spec, self.config)

    @property
    def preprocessings(self) -> tuple[Preprocessing, ...]:
        """The preprocessing of each input, fitted at first use or restored from a checkpoint."""
        if not self._preprocessings:
            with self._opened().reader("train", threads=torch.get_num_threads()) as reader:
                self._preprocessings, self._missing_values = fit_all(reader, self.config)
        return self._preprocessings

    @property
    def scaling(self) -> Scaling:
        """The scaling of the first input."""
        return self.preprocessings[0].scaling

    def describe_missing_values(self) -> list[str]:
        """Return one line per input with imputed values; none if restored from a checkpoint."""
        _ = self.preprocessings
        return self._missing_values

    def start_at(self, epoch: int, batch: int) -> None:
        """Let the training batches start in mid-epoch, to resume, as the Trainer must, too.

        Args:
            epoch: index of the epoch, from 0.
            batch: number of batches of that epoch to skip, on each device.
        """
        self._start = (epoch, batch)

    def setup(self, stage: str) -> None:
        """Check the file and fit the preprocessing before anything depends on them."""
        _ = self.preprocessings
        if self.trainer is not None and self.trainer.world_size > 1 and self.config.projection != "none":
            # Eigenvectors of nearly equal variance may differ between processor types.
            self.load_state_dict(self.trainer.strategy.broadcast(self.state_dict()))

    def train_dataloader(self) -> Loader:
        """Return shuffled batches of equal size; the last, incomplete one is dropped."""
        return self._loader("train", training=True)

    def val_dataloader(self) -> Loader | list[Loader]:
        """Return all validation samples, each once; no loader if there is no such split."""
        return self._loader("val", training=False) if "val" in self.spec.sizes else []

    def test_dataloader(self) -> Loader:
        """Return all samples of ``evaluated_split``, each once."""
        return self._loader(self.evaluated_split, training=False)

    def first_training_batch(self) -> Batch:
        """Return a batch of the usual size: the first samples of the training split, as stored."""
        size = batch_size_per_device(self.config, self.trainer.world_size if self.trainer else 1)
        return self.read_batch("train", np.arange(size))

    def read_batch(self, split: str, samples: NDArray[np.intp]) -> Batch:
        """Return the batch of these samples of a split as stored; crops are central."""
        with self._opened().reader(split) as reader:
            batch: Batch = self.spec.batch(tensors(reader.read(samples)))
            return batch

    def preprocessed(self, batch: Batch, convert: Callable[[Any], Any] = lambda x: x) -> Batch:
        """Preprocess the inputs of a batch on its device.

        Args:
            batch: as a loader yields it.
            convert: applied to each preprocessed input.
        """
        if isinstance(batch, dict):
            names = (field.name for field in self.spec.inputs)
            each = zip(names, self.preprocessings, strict=True)
            return batch | {name: convert(preprocess(batch[name])) for name, preprocess in each}
        x, *targets = batch
        return (convert(self.preprocessings[0](x)), *targets)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Preprocess a batch on the device, then call the LightningModule's hook of this name."""
        trainer = self.trainer
        if trainer is None:
            return self.preprocessed(batch)
        # Lightning converts floats to `precision` before the transfer, when images are still bytes.
        batch = self.preprocessed(batch, trainer.precision_plugin.convert_input)
        if trainer.training and self.config.augmentation != Augmentation():
            batch = self._augmented(batch)
        # Lightning calls only one of the two hooks, which would skip an augmentation in the module.
        transferred: Batch = trainer.lightning_module.on_after_batch_transfer(batch, dataloader_idx)
        return transferred

    def _augmented(self, batch: Batch) -> Batch:
        assert not isinstance(batch, dict)
        x, *targets = batch
        if self.spec.task == "segmentation":
            return augment(self.config.augmentation, x, targets[0])
        return (augment(self.config.augmentation, x)[0], *targets)

    def state_dict(self) -> dict[str, Any]:
        """Return preprocessing and labels for the checkpoint: they stay the same for a model."""
        preprocessings = [preprocessing.state_dict() for preprocessing in self.preprocessings]
        return {"preprocessings": preprocessings, "classes": list(self.spec.labels_of_classes)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore preprocessing and labels from a checkpoint instead of fitting them."""
        self._preprocessings = tuple(map(Preprocessing.from_state_dict, state_dict["preprocessings"]))
        if state_dict.get("classes"):
            self.config, self._data = self.config.model_copy(update={"classes": state_dict["classes"]}), None

    def teardown(self, stage: str) -> None:
        """Close the file."""
        for reader in self._readers:
            reader.close()
        self._readers.clear()

    def _opened(self) -> DataFile:
        if self._data is None:
            self._data = open_data(data_path(self.config), self.config)
        return self._data

    def _loader(self, split: str, *, training: bool) -> Loader:
        threads, buffer = torch.get_num_threads(), self.config.shuffle_buffer
        reader = self._opened().reader(split, seed=self.seed, threads=threads, window_mib=buffer)
        self._readers.append(reader)
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer else (0, 1)
        device = trainer.strategy.root_device if trainer else torch.device("cpu")
        order = batch_order(reader, self.config, training=training, seed=self.seed, rank=rank, world_size=world_size)
        if training:
            order.epoch, order.start_batch = self._start
        return choose_loader(reader, order, self.config, device, self._transform if training else None)


def _plain(argument: Any) -> Any:
    """Convert an argument to what the YAML would hold: a list for a tuple, a string for a path."""
    if isinstance(argument, Path):
        return str(argument)
    return list(argument) if isinstance(argument, Sequence) and not isinstance(argument, str) else argument
