"""What every kind of source offers: its samples in one fixed order, block by block, from any of
them on.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import Samples
from hpc_dl.errors import DataError

#: A source gives its samples in blocks of about this many bytes; memory is bounded by a few of
#: them.
BLOCK_BYTES = 16 << 20

Channels = Literal["auto", "first", "last", "none"]
Task = Literal["auto", "classification", "regression", "segmentation"]

#: What people call the splits, as a folder, a group, or a part of an array's name.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class Wishes:
    """What the user says of the source; each kind takes what concerns it.

    Attributes:
        inputs: name of the inputs: a dataset, an array, columns with commas; None to find it.
        targets: name of the targets: likewise, or a table of labels, or a folder of masks.
        task: what the targets are for.
        channels: on which axis of an array the channels lie.
        size: height and width that images are brought to; None for images of one size.
        class_names: names of the classes 0, 1, …; empty to take those of the source.
    """

    inputs: str | None = None
    targets: str | None = None
    task: Task = "auto"
    channels: Channels = "auto"
    size: tuple[int, int] | None = None
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Values:
    """Shape and type of one sample's inputs or targets, as they will be stored."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """Bytes of one sample."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass
class Source(ABC):
    """Samples in a fixed order: first those of train, then val, then test, where the source is
    divided.

    Attributes:
        path: the file or folder.
        kind: for people, ``image folder``.
        inputs: shape and type of one input, channels first.
        targets: shape and type of one target.
        sizes: samples of each split in the source's order; of ``train`` alone when it is not
            divided.
        divided: whether the source itself says which sample belongs to which split.
        task: what the targets are for.
        class_names: names of the classes; empty where there are none.
        attributes: further attributes of our own format (license, units, …) that the source tells.
        notes: what a person should know of how the source was read.
        files: every file that is read, to notice a change.
    """

    path: Path
    kind: str
    inputs: Values
    targets: Values
    sizes: dict[str, int]
    divided: bool
    task: str
    class_names: tuple[str, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    @abstractmethod
    def blocks(self, start: int) -> Iterator[Samples]:
        """All samples from number ``start`` on, in order, in blocks of about ``BLOCK_BYTES``.

        Raises:
            DataError: a file cannot be read or does not fit the others.
        """

    def labels(self) -> NDArray[Any] | None:
        """(N,) class of each sample, to divide the classes evenly; None where there are no classes."""
        return None

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """The inputs of any samples, to measure the speed of shuffled reading; None where only the
        order is fast.
        """
        return None

    def close(self) -> None:  # noqa: B027 - only some sources hold files open
        """Let go of the files."""

    @property
    def rows_together(self) -> int:
        """Samples that are decoded as one when any of them is taken."""
        return 1

    @property
    def num_samples(self) -> int:
        """Samples of all splits together."""
        return sum(self.sizes.values())

    @property
    def num_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def rows_per_block(self) -> int:
        """Samples in a block of about ``BLOCK_BYTES``."""
        return max(1, BLOCK_BYTES // max(1, self.inputs.row_bytes + self.targets.row_bytes))

    def fingerprint(self) -> str:
        """Names, lengths and times of change of all files: another one means that the source is
        another.
        """
        digest = hashlib.sha256()
        for file in self.files:
            try:
                facts = file.stat()
            except OSError as error:
                raise DataError.at(file, f"is gone or cannot be read: {error.strerror}") from None
            digest.update(json.dumps([str(file), facts.st_size, facts.st_mtime_ns]).encode())
        return digest.hexdigest()


def need(module: str, package: str, what: str) -> ModuleType:
    """Import a library that only one kind of source takes.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        raise DataError.at(
            what, f"cannot be read: the Python package {package} is missing", remedy="run `pip install 'hpc_dl[pack]'`"
        ) from None


def number_classes(texts: Sequence[str], named: Sequence[str], where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Class numbers for labels that are texts.

    Args:
        texts: the label of each sample.
        named: the classes in the order of their numbers, as the user gave them; empty to sort those
            that there are (numbers by value, else by alphabet).
        where: the place of the labels, for a fault.

    Returns:
        (N,) class numbers, and the names of the classes.

    Raises:
        DataError: a label is not among the names that were given, or there are as many classes as
            samples.
    """
    found = sorted(set(texts), key=_by_value)
    if named and (strange := [text for text in found if text not in named]):
        raise DataError.at(
            where, "has a label that is not a class", value=strange[0], allowed=", ".join(named), remedy="add it"
        )
    if len(found) > 20 and len(found) > len(texts) / 2:
        raise DataError.at(
            where,
            f"has {len(found)} different labels for {len(texts)} samples: these are no classes",
            remedy="name another column by `--targets`, or say `--task regression`",
        )
    names = tuple(named) or tuple(found)
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[text] for text in texts], label_type(len(names))), names


def label_type(num_classes: int) -> np.dtype[Any]:
    """The smallest type that NumPy and torch share for class numbers."""
    return np.dtype(np.uint8 if num_classes <= 256 else np.int32)


def split_folders(folder: Path) -> Mapping[str, Path]:
    """The subfolders that are named after splits, by split in our order; empty without a training
    folder.
    """
    found: dict[str, Path] = {}
    for child in sorted(folder.iterdir()):
        split = SPLIT_NAMES.get(child.name.lower())
        if split and child.is_dir():
            if split in found:
                raise DataError.at(folder, f"has two folders for {split}: {found[split].name} and {child.name}")
            found[split] = child
    return {split: found[split] for split in ("train", "val", "test") if split in found} if "train" in found else {}


def _by_value(text: str) -> tuple[int, float, str]:
    try:
        return 0, float(text), text
    except ValueError:
        return 1, 0.0, text
