"""A file that was checked against the ``data`` section: its spec, and the place of each split."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpc_dl.data.config import Augmentation, BalanceMethod, DataConfig
from hpc_dl.data.files.channel_notes import channel_notes
from hpc_dl.data.files.class_numbering import FoundLabels, check_settings, enum_names, number_classes
from hpc_dl.data.files.field_specs import SampleFields, describe_fields
from hpc_dl.data.files.fields import open_targets
from hpc_dl.data.files.format import FORMAT, FORMAT_VERSION
from hpc_dl.data.files.sample_groups import check_groups
from hpc_dl.data.files.split_reader import SplitReader
from hpc_dl.data.files.splits import Split, locate_splits, num_samples_of
from hpc_dl.data.files.value_checks import check_edges, check_targets, looks_like_classes
from hpc_dl.data.order.balance import balanced
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED, TASKS, WITH_CLASSES, WITHOUT_TARGETS, DataSpec
from hpc_dl.data.storage.checksum import combined_checksum, file_checksum
from hpc_dl.data.storage.dependencies import files_behind
from hpc_dl.data.storage.hdf5 import attribute, find_dataset, open_file, reports_damage, where
from hpc_dl.errors import ConfigError, DataError, Fault

_SAMPLES_FOR_NOTE = 10_000

_OWN_ATTRIBUTES = {
    "format", "format_version", "source", "task", "license", "description", "url", "provenance", "shared", "sha256"
}  # fmt: skip
_MANY_OWN_ATTRIBUTES = 6  # by chance, no other program writes so many of these


@dataclass(frozen=True, eq=False)
class DataFile:
    """A checked file that a model can learn from.

    Attributes:
        spec: shapes, task, classes and sizes as stored, before any preprocessing.
        splits: the place of each split in the file, by name.
    """

    spec: DataSpec
    splits: dict[str, Split]

    def reader(self, split: str, *, seed: int = 0, threads: int = 1, window_mib: float = 16) -> SplitReader:
        """Return a reader of one split; it opens nothing yet.

        Args:
            split: ``train``, ``val`` or ``test``.
            seed: see :class:`SplitReader`.
            threads: see :class:`SplitReader`.
            window_mib: see :class:`SplitReader`.

        Raises:
            DataError: the file has no such split.
        """
        if split not in self.splits:
            raise DataError.at(
                self.spec.file,
                f"has no {split} split",
                allowed=", ".join(self.splits),
                remedy=f"define one in `data.splits`, or drop the step that needs {split} samples",
            )
        return SplitReader(
            self.spec, self.splits[split], self.spec.sizes[split], seed=seed, threads=threads, window_mib=window_mib
        )


@reports_damage
def open_data(path: str | Path, config: DataConfig) -> DataFile:
    """Check a file against the ``data`` section; headers and targets are read, inputs are not.

    Raises:
        DataError: with the problems of all splits.
        ConfigError: the section requests something that these samples do not allow.
    """
    with open_file(path, option="" if config.file is None else "data.file") as file:
        own_format = is_own_format(file)
        if own_format:
            config = with_declarations(file, config)
        splits = locate_splits(file, config)
        inputs, targets, task = _describe_splits(file, splits, config, own_format)
        labeled = (*splits["train"].targets, *splits["train"].inputs)[0]
        names_classes = task in WITH_CLASSES or task == "embedding"
        labels_dataset = find_dataset(file, labeled, "data.targets")
        class_names = _class_names(labels_dataset) if names_classes else ()
        enum, declared = enum_names(labels_dataset), attribute(file, "task") in TASKS
        one_hot = targets[0].labels.one_hot if targets and targets[0].labels else None
        columns = None if one_hot is None else int(labels_dataset.shape[one_hot])
        if task == "embedding" and not class_names:
            raise DataError.at(
                f"{path}:{labeled}",
                "does not name its tokens, which embedding needs",
                remedy="list the tokens in the attribute `class_names`",
            )
        spec = DataSpec(
            inputs=inputs,
            targets=targets,
            task=task,
            num_outputs=len(class_names) or columns or int(np.prod((*targets, *inputs)[0].shape)),
            class_names=class_names,
            sizes={name: _num_samples(file, split, config) for name, split in splits.items()},
            file=str(Path(path).absolute()),
            checksum=_checksum(file, path, splits, own_format),
            name=str(attribute(file, "source")) if own_format else Path(path).stem,
            notes=() if own_format else channel_notes(file, splits["train"], inputs, config),
            ignores=config.ignore_label is not None or config.splits.nodes is not None,
        )
    if spec.input_kind == "graph":
        check_edges(spec, splits)
    check_settings(spec, config)
    numbered = config.classes == "numbered"
    labels = check_targets(spec, splits, numbered=numbered)
    if labels:
        place = f"{spec.file}:{splits['train'].targets[0]}"
        spec = number_classes(spec, FoundLabels(labels, class_names, enum, columns, place), config)
    elif config.task == "auto" and task == "regression" and not declared:
        spec = _with_note(spec, _regression_note(spec, splits["train"]))
    if config.augmentation != Augmentation() and spec.input_kind not in ("image", "volume"):
        raise ConfigError.at(
            "data.augmentation",
            f"works on images and volumes only, but {spec.file} has {spec.inputs_description}",
            remedy="remove `data.augmentation`",
        )
    if config.group is not None:
        check_groups(spec, splits, config)
    if config.balance != "none":
        spec, splits = _balance_training(spec, splits, config.balance)
    return DataFile(spec, splits)


def is_own_format(file: h5py.File) -> bool:
    """Whether hpc_dl wrote the file.

    Raises:
        DataError: it did, but in a version of the format that this release does not know.
    """
    if attribute(file, "format") != FORMAT:
        if len(_OWN_ATTRIBUTES & set(file.attrs)) < _MANY_OWN_ATTRIBUTES:
            return False
        raise DataError.at(
            file.filename,
            "has the attributes of a file of hpc_dl, but not its `format`: it is damaged",
            value=attribute(file, "format"),
            allowed=FORMAT,
            remedy="copy the file again, or create it again with `hpc-dl data make` or `hpc-dl data pack`",
        )
    version = attribute(file, "format_version")
    if version != FORMAT_VERSION:
        raise DataError.at(
            file.filename,
            "has an unknown version of the hpc_dl format",
            value=version,
            allowed=FORMAT_VERSION,
            remedy="update hpc_dl, or create the file again with `hpc-dl data make`",
        )
    return True


def with_declarations(file: h5py.File, config: DataConfig) -> DataConfig:
    """Fill in what the section leaves open from the attributes of a file in our own format.

    These are the names of the datasets, and the task if it has no targets.

    Raises:
        DataError: the file holds a stream, and the section does not say how to cut samples from it.
    """
    declared: dict[str, Any] = {}
    task = attribute(file, "task") if config.task == "auto" else config.task
    if task in WITHOUT_TARGETS:
        declared["task"] = task
    for name in ("inputs", "targets"):
        datasets = attribute(file, name)
        if isinstance(datasets, list) and getattr(config, name) == DataConfig.model_fields[name].default:
            declared[name] = datasets or None
    if attribute(file, "stream") and config.windows is None:
        raise DataError.at(
            "data.windows",
            f"is required: {file.filename} contains one long stream, not samples",
            remedy="set the length of the samples to cut from it, for example `windows: {length: 128}`",
        )
    return config.model_copy(update=declared)


def _describe_splits(
    file: h5py.File, splits: Mapping[str, Split], config: DataConfig, own_format: bool
) -> SampleFields:
    """Describe the samples, which must be alike in all splits; report all problems."""
    faults: list[Fault] = []
    described: dict[str, SampleFields] = {}
    for name, split in splits.items():
        try:
            described[name] = describe_fields(file, split, config, own_format)
            first = next(iter(described.values()))
            if described[name] != first:
                inputs = find_dataset(file, split.inputs[0], "data.inputs")
                raise DataError.at(
                    where(inputs),
                    f"shapes or types of the {name} split differ from those of the {next(iter(described))} split",
                    value=_shapes_and_types(described[name]),
                    allowed=_shapes_and_types(first),
                    remedy="store all splits with the same shapes and types",
                )
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(*dict.fromkeys(faults))
    return next(iter(described.values()))


def _shapes_and_types(fields: SampleFields) -> str:
    inputs, targets, _ = fields
    roles = (("inputs", inputs), ("targets", targets))
    return ", ".join(f"{role} {field.dtype} {field.shape}" for role, specs in roles for field in specs)


def _balance_training(
    spec: DataSpec, splits: dict[str, Split], method: BalanceMethod
) -> tuple[DataSpec, dict[str, Split]]:
    """Make all classes of the training split equally frequent."""
    if spec.task != "classification":
        raise ConfigError.at(
            "data.balance",
            f"needs one class per sample, but the task of {spec.file} is {spec.task}",
            value=method,
            remedy="remove it; `loss.class_weights` weights the classes of other tasks",
        )
    split = splits["train"]
    field = next(open_targets(spec, split))
    with closing(field.rows):
        indices = split.dataset_indices(np.arange(spec.sizes["train"]))
        labels = np.asarray(field.take(indices, None)).reshape(-1)
    indices, labels = indices[labels != IGNORED], labels[labels != IGNORED]
    rows = indices[balanced(labels, method)]
    sizes = spec.sizes | {"train": len(rows)}
    return replace(spec, sizes=sizes), splits | {"train": replace(split, rows=rows)}


def _regression_note(spec: DataSpec, split: Split) -> str:
    """Say that the targets look like classes, if they do; the first samples are read."""
    field = next(open_targets(spec, split))
    with closing(field.rows):
        numbers = np.arange(min(spec.sizes["train"], _SAMPLES_FOR_NOTE))
        values = field.take(split.dataset_indices(numbers), None)
    place = f"{spec.file}:{split.targets[0]}"
    return "" if isinstance(values, Ragged) else looks_like_classes(values, place)


def _with_note(spec: DataSpec, note: str) -> DataSpec:
    return replace(spec, notes=(*spec.notes, note)) if note else spec


def _num_samples(file: h5py.File, split: Split, config: DataConfig) -> int:
    if split.rows is not None:
        return len(split.rows)
    return num_samples_of(find_dataset(file, split.inputs[0], "data.inputs"), config.windows, config.steps_ahead)


def _checksum(file: h5py.File, path: str | Path, splits: Mapping[str, Split], own_format: bool) -> str:
    """Return the stored checksum, or that of the file and of all files behind its links."""
    own = f"sha256:{attribute(file, 'sha256')}" if own_format else file_checksum(path)
    names = {name: None for split in splits.values() for name in (*split.inputs, *split.targets)}
    others = files_behind(path, names)[1:]
    return combined_checksum([own, *map(file_checksum, others)]) if others else own


def _class_names(targets: h5py.Dataset) -> tuple[str, ...]:
    names = attribute(targets, "class_names")
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError.at(
            where(targets),
            "the attribute `class_names` must be a list of strings",
            value=names,
            remedy="store one name per class",
        )
    return tuple(names)
