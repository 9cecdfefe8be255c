"""The interface of all sources: samples in a fixed order, read in blocks from any start."""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.array_names import SPLIT_NAMES
from hpc_dl.data.files.format import Samples
from hpc_dl.errors import DataError

#: Size of a block of samples. Packing keeps a few blocks in memory.
BLOCK_BYTES = 16 << 20

Channels = Literal["auto", "first", "last", "none"]
Task = Literal["auto", "classification", "regression", "segmentation"]
Classes = Literal["auto", "remap"]
Categories = Literal["onehot", "numbers"]
Missing = Literal["keep", "refuse", "drop", "mean", "median", "most_frequent"]
Tokens = Literal["characters", "words"]

#: What the inputs mean: numbers, texts, or lists of texts by name.
Attributes = Mapping[str, str | float | tuple[str, ...]]


@dataclass(frozen=True)
class PackOptions:
    """How to read a source; each kind of source uses the options that apply to it.

    Attributes:
        inputs: name of a dataset, array or folder, or comma-separated columns; None to infer it.
        targets: as for the inputs, or a table of labels, or a folder of masks.
        task: the task that the targets are for.
        channels: the channel axis of arrays.
        size: height and width that images are resized to; None if all images have one size.
        class_names: names of the classes 0, 1, …; empty to use those of the source.
        classes: ``remap`` numbers the labels that occur from 0, in their order.
        omit: comma-separated columns that are not inputs.
        categorical: comma-separated columns of numbers that are categories.
        categories: how columns of text become numbers.
        missing: what is done about missing values of a table's inputs.
        indicator: add a column for each column with missing values, which marks them.
        group: column of a table, or dataset, whose samples of one value stay in one split.
        pattern: which files of a folder are inputs: ``*_T1w.nii.gz``.
        tokens: what a text is cut into.
        vocabulary: most different words that are kept; the others become one token.
        rate: values per second to resample recordings to; None if all have the same.
        length: steps that each recording is cut or padded to; None if all have the same.
        trained_on: what a model was trained on, for samples to predict: inputs are read in the same
            way, and targets may be missing; None to pack.
    """

    def __post_init__(self) -> None:
        if self.rate is not None and not 0 < self.rate < math.inf:
            raise DataError.at("--rate", "must be a positive number", value=self.rate)

    inputs: str | None = None
    targets: str | None = None
    task: Task = "auto"
    channels: Channels = "auto"
    size: tuple[int, int] | None = None
    class_names: tuple[str, ...] = ()
    classes: Classes = "auto"
    omit: str | None = None
    categorical: str | None = None
    categories: Categories = "onehot"
    missing: Missing = "keep"
    indicator: bool = False
    group: str | None = None
    pattern: str | None = None
    tokens: Tokens = "characters"
    vocabulary: int = 20_000
    rate: float | None = None
    length: int | None = None
    trained_on: TrainedOn | None = None


@dataclass(frozen=True)
class TrainedOn:
    """The data of a training, as its file describes them.

    Attributes:
        inputs: shape and type of one input as stored, channels first.
        task: what the targets are for.
        class_names: names of the classes; empty if there are none.
        attributes: what the inputs mean, as ``Source.input_attributes``.
    """

    inputs: Values
    task: str
    class_names: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Values:
    """Shape and type of one sample's inputs or targets, as stored in the packed file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Number of bytes of one sample."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass
class Source(ABC):
    """Samples in a fixed order: train, then val, then test, if the source has splits.

    Attributes:
        path: the file or folder.
        kind: name of the format, such as ``image folder``.
        inputs: shape and type of one input, channels first.
        targets: shape and type of one target; None if there are none, and blocks have empty ones.
        sizes: number of samples of each split, in the source's order; only ``train`` if the source
            has no splits.
        has_splits: whether the source itself assigns its samples to splits.
        task: the task that the targets are for.
        class_names: names of the classes; empty if there are none.
        attributes: further attributes of our own format (license, units, …) that the source has.
        input_attributes: what the inputs mean: names of columns, categories, filled-in values.
        stream: whether the samples are steps of one long stream, whose order has a meaning.
        notes: messages to the user about how the source was read.
        files: all files that are read, to detect changes.
    """

    path: Path
    kind: str
    inputs: Values
    targets: Values | None
    sizes: dict[str, int]
    has_splits: bool
    task: str
    class_names: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    input_attributes: dict[str, str | float | tuple[str, ...]] = field(default_factory=dict)
    stream: bool = False
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @abstractmethod
    def blocks(self, start: int) -> Iterator[Samples]:
        """Yield all samples from number ``start``, in order, in blocks of about ``BLOCK_BYTES``.

        Raises:
            DataError: a file cannot be read, or is inconsistent with the others.
        """

    def labels(self) -> NDArray[Any] | None:
        """Return the class of each sample (N,), to stratify by; None if there are no classes."""
        return None

    def names(self, start: int, stop: int) -> list[str]:
        """Return the names of the samples from ``start`` to ``stop``: their numbers, from 0."""
        return [str(number) for number in range(start, stop)]

    def groups(self) -> NDArray[Any] | None:
        """Return the group of each sample (N,), for example its subject; None if there are none.

        A random split keeps the samples of a group together.
        """
        return None

    def fit(self, is_training: NDArray[np.bool_]) -> None:  # noqa: B027 - only some sources fit something
        """Compute what the stored values depend on, from the training samples only.

        Called once, after the samples were assigned to splits and before ``blocks``.

        Args:
            is_training: (N,) whether a sample belongs to the training split.
        """

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """Return the inputs of any samples; None if only reading in order is fast."""
        return None

    def close(self) -> None:  # noqa: B027 - only some sources keep files open
        """Close the files."""

    @property
    def rows_together(self) -> int:
        """Number of samples that are decoded together when one of them is read."""
        return 1

    @property
    def num_samples(self) -> int:
        """Total number of samples."""
        return sum(self.sizes.values())

    @property
    def num_bytes(self) -> int:
        """Total size of all files."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def rows_per_block(self) -> int:
        """Number of samples in a block of about ``BLOCK_BYTES``."""
        row_bytes = self.inputs.row_bytes + (self.targets.row_bytes if self.targets else 0)
        return max(1, BLOCK_BYTES // max(1, row_bytes))

    def fingerprint(self) -> str:
        """Return a hash of the names, sizes and modification times of all files."""
        digest = hashlib.sha256()
        for file in self.files:
            try:
                status = file.stat()
            except OSError as error:
                raise DataError.at(file, f"is missing or cannot be read: {error.strerror}") from None
            digest.update(json.dumps([str(file), status.st_size, status.st_mtime_ns]).encode())
        return digest.hexdigest()


def check_type(source: Source, trained_on: TrainedOn | None) -> None:
    """Check that samples to predict have the type of those of the training, and so the same scale.

    Raises:
        DataError: they have another type.
    """
    if trained_on is not None and source.inputs.dtype != trained_on.inputs.dtype:
        raise DataError.at(
            source.path,
            "has values of a different type than the training data",
            value=str(source.inputs.dtype),
            allowed=str(trained_on.inputs.dtype),
            remedy="convert the files",
        )


def require(module: str, package: str, where: str, extra: str = "pack") -> ModuleType:
    """Import a library that only some sources or codecs need.

    Args:
        module: the module to import.
        package: the Python package to install.
        where: what needs it, for the message.
        extra: the extra of hpc_dl that installs it.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError.at(
            where,
            f"needs the Python package {package}, which is not installed",
            remedy=f"run `pip install 'hpc_dl[{extra}]'`",
        ) from None


def split_folders(folder: Path) -> Mapping[str, Path]:
    """Return the subfolders named after splits, by split; empty if there is no training folder.

    Raises:
        DataError: two folders are named after the same split.
    """
    folders: dict[str, Path] = {}
    for child in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(child.name.lower())
        if split and child.is_dir():
            if split in folders:
                raise DataError.at(folder, f"has two folders for {split}: {folders[split].name} and {child.name}")
            folders[split] = child
    if "train" not in folders:
        return {}
    return {split: folders[split] for split in ("train", "val", "test") if split in folders}
