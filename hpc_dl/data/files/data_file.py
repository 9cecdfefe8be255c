"""From a file and the ``data`` section to a checked data set: its spec, and where each split lies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_dl.data import sources
from hpc_dl.data.config import Augmentation, DataConfig
from hpc_dl.data.files.checks import Rows, check_labels, check_values
from hpc_dl.data.files.field_specs import describe
from hpc_dl.data.files.fields import Field, open_targets
from hpc_dl.data.files.format import FORMAT, FORMAT_VERSION
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.files.splits import Part, locate_splits, num_samples_of, offsets_of
from hpc_dl.data.order.balance import Balance, balanced
from hpc_dl.data.preprocessed_spec import presented
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import EDGES, NODES, WITH_CLASSES, WITHOUT_TARGETS, DataSpec, FieldSpec, TaskName
from hpc_dl.data.storage.checksum import file_checksum
from hpc_dl.data.storage.hdf5 import attribute, find_dataset, open_file, where
from hpc_dl.errors import ConfigError, DataError, Fault

# All labels are looked at where they tell the number of classes; where the file names them, opening
# a file of any size takes no more than a moment. `hpc-dl data verify` looks at everything.
_CHECKED_BYTES = 1 << 30
_CHECKED_NAMED_BYTES = 16 << 20
_PIECE_BYTES = 256 << 10


@dataclass(frozen=True, eq=False)
class DataFile:
    """A file that was checked and can be learned from.

    Attributes:
        spec: shapes, task, classes, sizes; as stored, before any preprocessing.
        parts: where each split lies.
    """

    spec: DataSpec
    parts: dict[str, Part]

    def reader(self, split: str, *, seed: int = 0, threads: int = 1, window_mib: float = 16) -> SplitReader:
        """A reader of one split; opens nothing yet.

        Args:
            split: ``train``, ``val`` or ``test``.
            seed: see :class:`SplitReader`.
            threads: likewise.
            window_mib: likewise.

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
        return SplitReader(
            self.spec, self.parts[split], self.spec.sizes[split], seed=seed, threads=threads, window_mib=window_mib
        )


def open_spec(config: DataConfig, data_dir: str | Path | None = None) -> DataSpec:
    """What a model and a preflight need to know of the data; light enough for a login node, and
    free of torch.

    Args:
        config: the ``data`` section.
        data_dir: folder of the shipped sources; ``$HPC_DL_DATA`` or ``data`` when None.

    Raises:
        DataError: the file is missing, damaged, or does not fit the section; every split's faults
            at once.
    """
    return presented(open_data(data_path(config, data_dir), config).spec, config)


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
    """Check a file against the ``data`` section: headers, and the targets' values. Inputs are not
    read.

    Raises:
        DataError: with the faults of all splits.
    """
    with open_file(path) as file:
        own_format = is_own_format(file)
        if own_format:
            config = as_declared(file, config)
        parts = locate_splits(file, config)
        inputs, targets, task = _described(file, parts, config, own_format)
        named = (*parts["train"].targets, *parts["train"].inputs)[0]
        class_names = _class_names(find_dataset(file, named, "data.targets")) if _is_classified(task) else ()
        if task == "embedding" and not class_names:
            raise DataError.at(
                f"{path}:{named}", "does not name its tokens", remedy="list them in the attribute `class_names`"
            )
        spec = DataSpec(
            inputs=inputs,
            targets=targets,
            task=task,
            num_outputs=len(class_names) or int(np.prod((*targets, *inputs)[0].shape)),
            class_names=class_names,
            sizes={split: _num_samples(file, part, config) for split, part in parts.items()},
            file=str(Path(path).absolute()),
            checksum=f"sha256:{attribute(file, 'sha256')}" if own_format else file_checksum(path),
            name=str(attribute(file, "source")) if own_format else Path(path).stem,
        )
    if spec.input_kind == "graph":
        _check_edges(spec, parts)
    largest_label = _check_targets(spec, parts)
    if task == "multilabel" and not class_names:
        return DataFile(replace(spec, class_names=tuple(map(str, range(spec.num_outputs)))), parts)
    if task in WITH_CLASSES and not class_names:
        spec = _with_numbered_classes(spec, largest_label + 1, parts["train"].targets[0])
    if config.augmentation != Augmentation() and spec.input_kind not in ("image", "volume"):
        raise ConfigError.at(
            "data.augmentation",
            f"is for images and volumes; {spec.file} has {spec.inputs_in_words}",
            remedy="leave it out",
        )
    if config.balance != "none":
        spec, parts = _balanced(spec, parts, config.balance)
    return DataFile(spec, parts)


def _balanced(spec: DataSpec, parts: dict[str, Part], how: Balance) -> tuple[DataSpec, dict[str, Part]]:
    """The training split with all classes equally frequent."""
    if spec.task != "classification":
        raise ConfigError.at(
            "data.balance",
            f"needs one class for each sample, and the task of {spec.file} is {spec.task}",
            value=how,
            remedy="leave it out; `loss.class_weights` weighs classes in other tasks",
        )
    part = parts["train"]
    field = next(open_targets(spec, part))
    with closing(field.rows):
        numbers = part.rows_at(np.arange(spec.sizes["train"]))
        labels = np.asarray(field.take(numbers, None)).reshape(-1)
    rows = numbers[balanced(labels, how)]
    sizes = spec.sizes | {"train": len(rows)}
    return replace(spec, sizes=sizes), parts | {"train": replace(part, rows=rows)}


def class_counts(config: DataConfig) -> tuple[int, ...]:
    """How often each class, or label, is there in the training split: samples, or their steps,
    pixels or nodes.

    Args:
        config: the ``data`` section, which names a file.

    Raises:
        DataError: the file is missing, damaged, or has no classes.
    """
    data = open_data(data_path(config), config)
    spec, part = data.spec, data.parts["train"]
    counts = np.zeros(spec.num_outputs, np.int64)
    field = next(open_targets(spec, part))
    with closing(field.rows):
        for samples in _checked_samples(spec.sizes["train"], field, part, np.iinfo(np.int64).max):
            found = field.take(part.rows_at(np.arange(samples.start, samples.stop)), None)
            labels = found.values if isinstance(found, Ragged) else found
            if spec.task == "multilabel":
                counts += labels.astype(np.int64).sum(0)
            else:
                counts += np.bincount(labels.reshape(-1), minlength=spec.num_outputs)
    return tuple(map(int, counts))


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


def as_declared(file: h5py.File, config: DataConfig) -> DataConfig:
    """The section with what a file of our own says of itself, where the section says nothing: its
    datasets, its task.

    Raises:
        DataError: the file holds a stream, and nothing tells how to cut samples from it.
    """
    said: dict[str, Any] = {}
    task = attribute(file, "task") if config.task == "auto" else config.task
    if task in WITHOUT_TARGETS:
        said["task"] = task
    for name in ("inputs", "targets"):
        names = attribute(file, name)
        if isinstance(names, list) and getattr(config, name) == DataConfig.model_fields[name].default:
            said[name] = names or None
    if attribute(file, "stream") and config.windows is None:
        raise DataError.at(
            "data.windows",
            f"is required: {file.filename} holds one long stream",
            remedy="say how samples are cut from it, for example `windows: {length: 128}`",
        )
    return config.model_copy(update=said)


def _is_classified(task: TaskName) -> bool:
    return task in WITH_CLASSES or task == "embedding"


def _described(
    file: h5py.File, parts: dict[str, Part], config: DataConfig, own_format: bool
) -> tuple[tuple[FieldSpec, ...], tuple[FieldSpec, ...], TaskName]:
    """What the datasets give for a sample, in all splits alike; the faults of all splits at once."""
    faults: list[Fault] = []
    found = {}
    for split, part in parts.items():
        try:
            found[split] = describe(file, part, config, own_format)
            # All splits are one data set: what a model learned from one must fit the others.
            first = next(iter(found.values()))
            if found[split] != first:
                inputs = find_dataset(file, part.inputs[0], "data.inputs")
                raise DataError.at(
                    where(inputs),
                    "shapes and types differ from those of the first split",
                    value=_told(found[split]),
                    allowed=_told(first),
                    remedy="store all splits alike",
                )
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(*dict.fromkeys(faults))
    return next(iter(found.values()))


def _told(described: tuple[tuple[FieldSpec, ...], tuple[FieldSpec, ...], TaskName]) -> str:
    inputs, targets, _ = described
    kinds = [
        f"{name} {field.dtype} {field.shape}"
        for name, fs in zip(("inputs", "targets"), (inputs, targets), strict=True)
        for field in fs
    ]
    return ", ".join(kinds)


def _check_targets(spec: DataSpec, parts: dict[str, Part]) -> int:
    """Check the targets of every split, and return the largest label (0 for regression)."""
    faults: list[Fault] = []
    largest = 0
    for split, part in parts.items():
        for number, field in enumerate(open_targets(spec, part)):
            place = f"{spec.file}:{part.targets[number]}"
            try:
                named = number == 0 and bool(spec.class_names)
                most_bytes = _CHECKED_NAMED_BYTES if named else _CHECKED_BYTES
                samples = _checked_samples(spec.sizes[split], field, part, most_bytes)
                pieces: Iterator[Rows] = samples
                if part.rows is not None or not field.one_row:
                    numbers = (part.rows_at(np.arange(some.start, some.stop)) for some in samples)
                    pieces = filter(len, map(field.rows_of, numbers))
                if number == 0 and spec.task in WITH_CLASSES:
                    num_classes = 2 if spec.task == "multilabel" else len(spec.class_names) or None
                    largest = max(largest, check_labels(place, field.rows, pieces, num_classes))
                else:
                    check_values(place, field.rows, pieces)
            except DataError as error:
                faults += error.faults
            finally:
                field.rows.close()
    if faults:
        raise DataError(*faults)
    return largest


def _check_edges(spec: DataSpec, parts: dict[str, Part]) -> None:
    """Edges must end at nodes of their own graph; those of the first gigabyte are looked at.

    Raises:
        DataError: one does not.
    """
    names = [field.name for field in spec.inputs]
    with open_file(spec.file) as file:
        for part in parts.values():
            nodes, edges = (
                find_dataset(file, part.inputs[names.index(name)], "data.inputs") for name in (NODES, EDGES)
            )
            nodes_of, edges_of = offsets_of(nodes), offsets_of(edges)
            if nodes_of is None or edges_of is None:
                continue  # told when they are described
            count = min(len(edges), _CHECKED_BYTES // max(1, edges.dtype.itemsize * edges.shape[-1]))
            ends = edges[:count].reshape(count, -1)
            most = np.repeat(np.diff(nodes_of[()]), np.diff(edges_of[()]))[:count]
            wrong = np.flatnonzero(((ends < 0) | (ends >= most[:, None])).any(1))
            if len(wrong):
                row = int(wrong[0])
                raise DataError.at(
                    f"{spec.file}:{edges.name}",
                    f"the edge in row {row} ends at a node that its graph does not have",
                    value=ends[row].tolist(),
                    allowed=f"0 to {most[row] - 1}",
                    remedy="number the nodes of each graph from 0",
                )


def _checked_samples(size: int, field: Field, part: Part, most_bytes: int) -> Iterator[range]:
    """All samples, a piece at a time; of more bytes than that only some pieces, evenly spread, the
    last among them.
    """
    few = part.rows_at(np.linspace(0, size - 1, min(size, 64)).astype(np.intp))
    num_bytes = max(8, len(field.rows_of(few)) * field.rows.layout.row_bytes // len(few))
    step = max(1, _PIECE_BYTES // num_bytes)
    num_pieces = -(-size // step)
    for piece in np.linspace(0, num_pieces - 1, max(1, min(num_pieces, most_bytes // (step * num_bytes)))):
        yield range(int(piece) * step, min((int(piece) + 1) * step, size))


def _with_numbered_classes(spec: DataSpec, num_classes: int, targets: str) -> DataSpec:
    """The spec of a file that names no classes: they are called by their numbers."""
    num_samples = sum(spec.sizes.values())
    if num_classes > num_samples and spec.task == "classification":
        raise DataError.at(
            f"{spec.file}:{targets}",
            f"labels up to {num_classes - 1} among {num_samples} samples do not look like class numbers",
            remedy="number the classes from 0, or set `data.task: regression`",
        )
    return replace(spec, num_outputs=num_classes, class_names=tuple(map(str, range(num_classes))))


def _num_samples(file: h5py.File, part: Part, config: DataConfig) -> int:
    if part.rows is not None:
        return len(part.rows)
    return num_samples_of(find_dataset(file, part.inputs[0], "data.inputs"), config.windows, config.steps_ahead)


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
