"""Samples to predict, in batches: of an HDF5 file, or of what ``hpc-dl data pack`` reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.batches.loader import tensors
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.files.format import Samples as BlockOfSamples
from hpc_dl.data.open_spec import data_path
from hpc_dl.data.packing.open_source import is_hdf5, open_source
from hpc_dl.data.packing.source import PackOptions, TrainedOn, Values
from hpc_dl.data.preprocessed_spec import spec_after_preprocessing
from hpc_dl.data.spec import SPLITS, WITH_CLASSES
from hpc_dl.data.split_config import SplitFractions, SplitGroups, Splits
from hpc_dl.data.storage.dependencies import item_at
from hpc_dl.data.storage.hdf5 import attribute, open_file
from hpc_dl.errors import ConfigError, DataError
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.vocabulary import Vocabulary

_WITHOUT_SPLITS = "all"
_INPUT_ATTRIBUTES = ("columns", "categories", "filled", "rate")  # as `hpc-dl data pack` writes them


@dataclass(frozen=True)
class HowToRead:
    """How to read a file or folder.

    Attributes:
        inputs: dataset, array or columns of the inputs, if they have other names than in training.
        targets: columns of the targets, or a table of labels; only for other formats than HDF5.
        size: height and width that images are resized to.
    """

    inputs: str | None = None
    targets: str | None = None
    size: tuple[int, int] | None = None


class Batch(NamedTuple):
    """Some samples.

    Attributes:
        inputs: a batch of the model, without targets.
        names: of the samples; None if only their numbers identify them.
        targets: (B,) class numbers or (B, K) values; None if they are not known.
    """

    inputs: Any
    names: Sequence[str] | None
    targets: NDArray[Any] | None


class Samples(ABC):
    """The samples of a file or folder.

    Attributes:
        sizes: number of samples by split; ``all`` if there are no splits.
        shape: of one input, preprocessed.
    """

    sizes: dict[str, int]
    shape: tuple[int, ...]

    @abstractmethod
    def batches(self, split: str, size: int) -> Iterator[Batch]:
        """Yield all samples of a split, ``size`` at a time."""

    def close(self) -> None:  # noqa: B027 - only some keep files open
        """Close the files."""


def open_samples(trained: TrainedModel, path: Path, how: HowToRead) -> Samples:
    """Open a file or folder whose inputs are like those of the training.

    Raises:
        ConfigError: they are not.
        DataError: it cannot be read.
    """
    if is_hdf5(path):
        return HDF5Samples(trained, path, how)
    return PackableSamples(trained, path, how)


class HDF5Samples(Samples):
    """An HDF5 file, read with the settings of the training; its targets are not read."""

    def __init__(self, trained: TrainedModel, path: Path, how: HowToRead) -> None:
        groups = _groups_by_split(path, how.inputs or trained.data.inputs[0].name)
        self._file = _open_inputs(trained, path, how.inputs, groups)
        self._splits = {group or _WITHOUT_SPLITS: split for split, group in groups.items()}
        self.shape = spec_after_preprocessing(self._file.spec, trained.experiment.data).input_shape
        self.sizes = {group: self._file.spec.sizes[split] for group, split in self._splits.items()}

    def batches(self, split: str, size: int) -> Iterator[Batch]:
        """See :class:`Samples`."""
        with self._file.reader(self._splits[split]) as reader:
            for start in range(0, len(reader), size):
                samples = np.arange(start, min(start + size, len(reader)))
                yield Batch(self._file.spec.batch(tensors(reader.read(samples))), None, None)


class PackableSamples(Samples):
    """What ``hpc-dl data pack`` reads, without a packed file."""

    def __init__(self, trained: TrainedModel, path: Path, how: HowToRead) -> None:
        data = trained.data
        if len(data.inputs) > 1 or data.inputs[0].ragged:
            raise ConfigError.at(
                str(path), f"does not have the inputs of this model: {data.inputs_description}",
                remedy="store them in an HDF5 file as for the training",
            )  # fmt: skip
        known = _trained_on(trained)
        shape, attributes = known.inputs.shape, known.attributes
        self._source = open_source(
            path,
            PackOptions(
                inputs=how.inputs,
                targets=how.targets,
                size=how.size,
                task="regression" if data.task == "regression" else "classification",
                class_names=known.class_names,
                tokens="characters" if Vocabulary(known.class_names).of_characters else "words",
                rate=attributes.get("rate"),
                length=shape[-1] if attributes.get("rate") and shape else None,
                trained_on=known,
            ),
        )
        self._source.fit(np.ones(self._source.num_samples, bool))
        self._has_targets = data.task in ("classification", "regression") and self._source.targets is not None
        window = data.inputs[0].window if self._source.stream else None
        self._window = 0 if window is None else window.length
        self.shape = (self._window, *self._source.inputs.shape) if self._window else self._source.inputs.shape
        is_image = len(shape) == len(self.shape) == 3
        remedy = f"resize images with --size {shape[1]}x{shape[2]}" if is_image else "convert the samples"
        _check_shape(trained, path, self.shape, shape, remedy)
        sizes = self._source.sizes
        self._lengths = dict(sizes if self._source.has_splits else {_WITHOUT_SPLITS: self._source.num_samples})
        self.sizes = {split: length // max(1, self._window) for split, length in self._lengths.items()}

    def batches(self, split: str, size: int) -> Iterator[Batch]:
        """See :class:`Samples`."""
        names = list(self._lengths)
        before = sum(self._lengths[name] for name in names[: names.index(split)])
        blocks = self._source.blocks(before)
        number = 0
        for inputs, targets in _in_windows(blocks, self._window) if self._window else blocks:
            num = min(len(inputs), self.sizes[split] - number)
            for first in range(0, num, size):
                last = min(first + size, num)
                start = before + number
                yield Batch(
                    tuple(tensors([np.ascontiguousarray(inputs[first:last])])),
                    None if self._window else self._source.names(start + first, start + last),
                    targets[first:last] if self._has_targets else None,
                )
            number += num
            if number == self.sizes[split]:
                return

    def close(self) -> None:
        """See :class:`Samples`."""
        self._source.close()


def _in_windows(blocks: Iterator[BlockOfSamples], length: int) -> Iterator[BlockOfSamples]:
    """Cut a stream into windows; the steps after the last full window are left out."""
    rest = np.empty(0)
    for block in blocks:
        steps = np.concatenate([rest.astype(block.inputs.dtype), block.inputs])
        whole = len(steps) // length * length
        rest = steps[whole:]
        yield BlockOfSamples(steps[:whole].reshape(-1, length, *steps.shape[1:]), np.empty((whole // length, 0)))


def _trained_on(trained: TrainedModel) -> TrainedOn:
    """What the training's file says about its inputs."""
    config, data = trained.experiment.data, trained.data
    path = data_path(config)
    stored = open_data(path, config)
    field = stored.spec.inputs[0]
    with open_file(path) as file:
        dataset = file[stored.splits["train"].inputs[0]]
        values = {name: attribute(dataset, name) for name in _INPUT_ATTRIBUTES}
    names = data.class_names or (tuple(map(str, range(data.num_outputs))) if data.task in WITH_CLASSES else ())
    return TrainedOn(Values(field.shape, np.dtype(field.dtype)), data.task, names, values)


def _check_shape(
    trained: TrainedModel, path: Path, actual: tuple[int, ...], expected: tuple[int, ...], remedy: str
) -> None:
    """Check that samples have the shape of those of the training, or a size that the model takes.

    Raises:
        ConfigError: they have not; the message says why the model takes one size only.
    """
    problem, reason = "has inputs of a different shape than the training data", ""
    if len(actual) == len(expected) > 1 and actual[0] == expected[0]:
        reason = trained.experiment.model.fixed_size
        problem = f"has inputs of a different size than the training data, and the model takes no others: {reason}"
        expected = actual if not reason else expected
    if actual != expected:
        raise ConfigError.at(str(path), problem, value=actual, allowed=str(expected), remedy=remedy)


def _groups_by_split(file: Path, inputs: str) -> dict[str, str]:
    """The groups of the file that hold inputs, under the split names that the reader requires.

    The group is ``""`` if the file has no splits.
    """
    with open_file(file) as opened:
        if isinstance(item_at(opened, inputs), h5py.Dataset):
            return {"train": ""}
        groups = [name for name in opened if isinstance(item_at(opened, f"{name}/{inputs}"), h5py.Dataset)]
    if not groups:
        raise DataError.at(
            f"{file}:{inputs}",
            "does not exist, neither at the top of the file nor in one of its groups",
            remedy="specify the dataset of the inputs with --inputs",
        )
    ordered = sorted(groups, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))
    return dict(zip(SPLITS, ordered, strict=False))


def _open_inputs(trained: TrainedModel, file: Path, inputs: str | None, groups: dict[str, str]) -> DataFile:
    """Open the file with the settings of the training, but without targets.

    Raises:
        ConfigError: the inputs differ in shape or type from those of the training.
    """
    config = trained.experiment.data
    if groups == {"train": ""}:
        splits = Splits(fractions=SplitFractions(train=1.0, val=0.0, test=0.0))
    else:
        splits = Splits(groups=SplitGroups(**{split: groups.get(split) for split in SPLITS}))  # type: ignore[arg-type]
    changes: dict[str, Any] = {"file": str(file), "splits": splits, "task": "reconstruction", "crop": None}
    changes |= {"classes": "numbered", "ignore_label": None}
    if inputs is not None:
        changes["inputs"] = inputs
    if isinstance(config.targets, list):
        changes["targets"] = "targets"
    data_file = open_data(file, config.model_copy(update=changes))
    expected = [(field.shape, field.ragged) for field in trained.data.inputs]
    actual = [(field.shape, field.ragged) for field in spec_after_preprocessing(data_file.spec, config).inputs]
    remedy = "store them in the same shape, or choose another dataset with --inputs"
    if len(expected) == len(actual) == 1 and not expected[0][1] and not actual[0][1]:
        _check_shape(trained, file, actual[0][0], expected[0][0], remedy)
    elif expected != actual:
        raise ConfigError.at(
            str(file),
            "has inputs of a different shape than the training data",
            value=", ".join(str(shape) for shape, _ in actual),
            allowed=", ".join(str(shape) for shape, _ in expected),
            remedy=remedy,
        )
    return data_file
