"""From a file and the ``data`` section to a checked data set: its spec, and where each split lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from hpc_dl.data import sources
from hpc_dl.data.checks import channel_axis, check_labels, check_pair, check_values, infer_task
from hpc_dl.data.checksum import file_checksum
from hpc_dl.data.config import DataConfig
from hpc_dl.data.format import FORMAT, FORMAT_VERSION
from hpc_dl.data.hdf5 import attribute, find_dataset, open_file, where
from hpc_dl.data.reader import SplitReader
from hpc_dl.data.rows import open_rows
from hpc_dl.data.spec import DataSpec
from hpc_dl.data.splits import Part, locate_splits
from hpc_dl.errors import DataError, Fault


@dataclass(frozen=True, eq=False)
class DataFile:
    """A file that was checked and can be learned from.

    Attributes:
        spec: shapes, task, classes, sizes.
        parts: where each split lies.
    """

    spec: DataSpec
    parts: dict[str, Part]

    def reader(self, split: str) -> SplitReader:
        """A reader of one split; opens nothing yet.

        Raises:
            DataError: the file has no such split.
        """
        if split not in self.parts:
            raise DataError.at(
                self.spec.file,
                f"has no {split} split",
                allowed=", ".join(self.parts),
                remedy=f"name one under `data.splits`, or leave out what needs {split} samples",
            )
        return SplitReader(self.spec, self.parts[split], self.spec.sizes[split])


def open_spec(config: DataConfig, data_dir: str | Path | None = None) -> DataSpec:
    """What a model and a preflight need to know of the data; light enough for a login node, and free of torch.

    Args:
        config: the ``data`` section.
        data_dir: folder of the shipped sources; ``$HPC_DL_DATA`` or ``data`` when None.

    Raises:
        DataError: the file is missing, damaged, or does not fit the section; every split's faults at once.
    """
    return open_data(data_path(config, data_dir), config).spec


def data_path(config: DataConfig, data_dir: str | Path | None = None) -> Path:
    """Absolute path of the section's file; a shipped source is made when it is not there yet.

    Raises:
        DataError: the source is unknown or cannot be made.
    """
    if config.source is not None:
        return sources.ensure(config.source, data_dir).absolute()
    assert config.file is not None  # one of both is given: checked by DataConfig
    return Path(config.file).expanduser().absolute()


def open_data(path: str | Path, config: DataConfig) -> DataFile:
    """Check a file against the ``data`` section: headers, and the targets' values. Inputs are not read.

    Raises:
        DataError: with the faults of all splits.
    """
    with open_file(path) as file:
        own_format = is_own_format(file)
        parts = _checked_parts(file, locate_splits(file, config), config, own_format)
        inputs = find_dataset(file, parts["train"].inputs, "data.inputs")
        targets = find_dataset(file, parts["train"].targets, "data.targets")
        task = infer_task(targets, config)
        class_names = _class_names(targets) if task == "classification" else ()
        spec = DataSpec(
            input_shape=_input_shape(inputs.shape[1:], parts["train"].channels),
            input_dtype=inputs.dtype.newbyteorder("=").name,
            task=task,
            num_outputs=len(class_names) or targets.size // len(targets),
            class_names=class_names,
            sizes={split: _num_samples(file, part) for split, part in parts.items()},
            file=str(Path(path).absolute()),
            checksum=f"sha256:{attribute(file, 'sha256')}" if own_format else file_checksum(path),
            name=str(attribute(file, "source")) if own_format else Path(path).stem,
        )
    largest_label = _check_targets(spec, parts)
    if task == "classification" and not class_names:
        spec = _with_numbered_classes(spec, largest_label + 1, parts["train"].targets)
    return DataFile(spec, parts)


def is_own_format(file: h5py.File) -> bool:
    """Whether hpc_dl wrote the file.

    Raises:
        DataError: it did, but in a version of the format that this release does not know.
    """
    if attribute(file, "format") != FORMAT:
        return False
    version = attribute(file, "format_version")
    if version != FORMAT_VERSION:
        raise DataError.at(
            file.filename,
            "is of an unknown version of the hpc_dl format",
            value=version,
            allowed=FORMAT_VERSION,
            remedy="update hpc_dl, or make the file again with `hpc-dl data make`",
        )
    return True


def _checked_parts(file: h5py.File, parts: dict[str, Part], config: DataConfig, own_format: bool) -> dict[str, Part]:
    """The parts with the axis of their channels, after shapes and types were checked; all faults at once."""
    faults: list[Fault] = []
    checked: dict[str, Part] = {}
    kinds: dict[str, str] = {}
    for split, part in parts.items():
        try:
            inputs = find_dataset(file, part.inputs, "data.inputs")
            targets = find_dataset(file, part.targets, "data.targets")
            check_pair(inputs, targets)
            checked[split] = replace(part, channels=channel_axis(inputs, config, own_format))
            infer_task(targets, config)
            # All splits are one data set: what a model learned from one must fit the others.
            kind = f"inputs {inputs.dtype} {inputs.shape[1:]}, targets {targets.dtype} {targets.shape[1:]}"
            if kind != kinds.setdefault("first", kind):
                raise DataError.at(
                    where(inputs),
                    "shapes and types differ from those of the first split",
                    value=kind,
                    allowed=kinds["first"],
                    remedy="store all splits alike",
                )
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(*dict.fromkeys(faults))
    return checked


def _check_targets(spec: DataSpec, parts: dict[str, Part]) -> int:
    """Check every target of every split, and return the largest label (0 for regression)."""
    faults: list[Fault] = []
    largest = 0
    for split, part in parts.items():
        place = f"{spec.file}:{part.targets}"
        rows = part.rows_at(np.arange(spec.sizes[split]))
        reader = open_rows(spec.file, part.targets)
        try:
            if spec.task == "classification":
                largest = max(largest, check_labels(place, reader, rows, len(spec.class_names) or None))
            else:
                check_values(place, reader, rows)
        except DataError as error:
            faults += error.faults
        finally:
            reader.close()
    if faults:
        raise DataError(*faults)
    return largest


def _with_numbered_classes(spec: DataSpec, num_classes: int, targets: str) -> DataSpec:
    """The spec of a file that names no classes: they are called by their numbers."""
    num_samples = sum(spec.sizes.values())
    if num_classes > num_samples:
        raise DataError.at(
            f"{spec.file}:{targets}",
            f"labels up to {num_classes - 1} among {num_samples} samples do not look like class numbers",
            remedy="number the classes from 0, or set `data.task: regression`",
        )
    return replace(spec, num_outputs=num_classes, class_names=tuple(map(str, range(num_classes))))


def _num_samples(file: h5py.File, part: Part) -> int:
    return len(part.rows) if part.rows is not None else len(file[part.inputs])


def _class_names(targets: h5py.Dataset) -> tuple[str, ...]:
    names = attribute(targets, "class_names")
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError.at(
            where(targets),
            "the attribute `class_names` must be a list of texts",
            value=names,
            remedy="write one name for each class",
        )
    return tuple(names)


def _input_shape(stored: tuple[int, ...], channels: str) -> tuple[int, ...]:
    """Shape of one input with the channels first, from its shape in the file."""
    if channels == "last":
        return (stored[-1], *stored[:-1])
    return (1, *stored) if channels == "none" else stored
