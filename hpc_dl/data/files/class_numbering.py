"""Which classes a file has: its distinct labels, their numbers and names, and what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.config import DataConfig
from hpc_dl.data.files.labels import label_of, unknown_label
from hpc_dl.data.spec import WITH_CLASSES, DataSpec, Label, Labels
from hpc_dl.data.storage.hdf5 import type_name
from hpc_dl.errors import ConfigError, DataError
from hpc_dl.formatting import shortened

_MOST_LISTED = 6
_MOST_NUMBERED = 1 << 20  # classes without a list of labels
_ONE_OF_SEVERAL = ("classification", "segmentation", "sequence_labeling", "node_classification")
_CANNOT_RENUMBER = ("language_modeling", "sequence_to_sequence")


@dataclass(frozen=True)
class FoundLabels:
    """The labels that were found in a file.

    Attributes:
        labels: the distinct labels, ascending, by split.
        names: the names of the classes in the file, by class number; empty if there are none.
        enum: the names of labels that are stored as an enumeration, by label.
        columns: the number of columns of one-hot rows; None for other labels.
        place: of the labels of the training split, ``FILE:/dataset``.
    """

    labels: Mapping[str, NDArray[Any]]
    names: tuple[str, ...]
    enum: Mapping[int, str]
    columns: int | None
    place: str

    @property
    def distinct(self) -> NDArray[Any]:
        """The distinct labels of all splits, ascending."""
        return np.unique(np.concatenate(list(self.labels.values())))


def check_settings(spec: DataSpec, config: DataConfig) -> None:
    """Check that the task of the data has classes that the section's keys apply to.

    Raises:
        ConfigError: it has not.
    """
    if config.classes != "numbered" and (spec.task not in WITH_CLASSES or spec.task in _CANNOT_RENUMBER):
        reason = "whose tokens must be numbered from 0" if spec.task in _CANNOT_RENUMBER else "which has no classes"
        raise ConfigError.at("data.classes", f"does not apply to {spec.task}, {reason}", remedy="remove it")
    if config.ignore_label is not None and (spec.task not in WITH_CLASSES or spec.task == "sequence_to_sequence"):
        raise ConfigError.at("data.ignore_label", f"does not apply to {spec.task} (data.task)", remedy="remove it")


def enum_names(dataset: h5py.Dataset) -> dict[int, str]:
    """Return the names of an enumeration by value; empty for other types."""
    members = h5py.check_enum_dtype(dataset.dtype)
    return {} if members is None else {int(value): str(name) for name, value in members.items()}


def number_classes(spec: DataSpec, found: FoundLabels, config: DataConfig) -> DataSpec:
    """Return the spec with numbered and named classes, and with notes on what was chosen.

    Raises:
        DataError: the labels are not numbers of classes, or there is only one.
    """
    distinct = found.distinct
    field = spec.targets[0]
    labels = field.labels or Labels()
    notes = list(spec.notes)
    if labels.one_hot is not None:
        notes.append(f"{found.place}: one-hot rows are read as one class for each position or sample")
    if not len(distinct):
        raise DataError.at(found.place, "has no label other than `data.ignore_label`", remedy="remove that key")
    if config.classes == "numbered":
        names = _numbered_names(spec, found)
        notes += _numbered_notes(found, len(names), labels)
    else:
        values = _labels_in_order(found, config)
        labels = replace(labels, values=values)
        names = tuple(_name_of(value, number, values, found) for number, value in enumerate(values))
        if config.classes == "remap":
            pairs = [f"{value} → {number}" for number, value in enumerate(values)]
            notes.append(f"{found.place}: labels are numbered as classes: {shortened(pairs, _MOST_LISTED)}")
    if spec.task in _ONE_OF_SEVERAL and (len(names) < 2 or (len(distinct) == 1 and not found.names)):
        raise DataError.at(
            found.place,
            f"has only one class, but {spec.task} needs at least two",
            value=label_of(distinct[0]),
            remedy="choose other targets (`data.targets`), or set `data.task: regression` for values",
        )
    if field.labels is not None or labels.values:
        field = replace(field, labels=labels)
    if spec.task == "multilabel":
        if config.classes != "numbered" and len(names) != 2:
            raise DataError.at(
                found.place, "must contain two labels for multilabel, for unset and set", value=labels.values
            )
        return replace(spec, targets=(field, *spec.targets[1:]), notes=tuple(notes))
    notes += _split_notes(found)
    return replace(
        spec,
        targets=(field, *spec.targets[1:]),
        num_outputs=len(names),
        class_names=names,
        notes=tuple(notes),
    )


def text_labels_error(dataset: h5py.Dataset, place: str) -> DataError:
    """Return the error for labels that are texts, if ``data.classes`` does not number them."""
    return DataError.at(
        place,
        "contains text labels, which have no numbers yet",
        value=type_name(dataset),
        remedy="set `data.classes: remap` to number the distinct labels in alphabetical order, or `data.classes` to "
        "the list of labels in the order you want",
    )


def _labels_in_order(found: FoundLabels, config: DataConfig) -> tuple[Label, ...]:
    distinct = found.distinct
    if not isinstance(config.classes, list):
        return tuple(map(label_of, distinct))
    values = tuple(map(label_of, config.classes))
    is_text = distinct.dtype.kind == "U"
    if any(isinstance(value, str) != is_text for value in values):
        raise ConfigError.at(
            "data.classes",
            "must list the labels as they are stored",
            value=list(values),
            allowed="texts" if is_text else "numbers",
        )
    for label in distinct:
        if label_of(label) not in values:
            raise unknown_label(found.place, label, Labels(values))
    return values


def _name_of(value: Label, number: int, values: tuple[Label, ...], found: FoundLabels) -> str:
    if isinstance(value, int) and value in found.enum:
        return found.enum[value]
    if found.names and isinstance(value, int) and 0 <= value < len(found.names) and max(values) < len(found.names):  # type: ignore[operator]
        return found.names[value]
    return found.names[number] if len(found.names) == len(values) else str(value)


def _numbered_names(spec: DataSpec, found: FoundLabels) -> tuple[str, ...]:
    if spec.task == "multilabel":
        return spec.class_names
    if found.columns is not None and found.names and len(found.names) != found.columns:
        raise DataError.at(
            found.place,
            f"has one-hot rows of {found.columns} classes, but names {len(found.names)}",
            remedy="correct the attribute `class_names`",
        )
    if found.names:
        return found.names
    num_classes = found.columns or int(found.distinct[-1]) + 1
    num_samples = sum(spec.sizes.values())
    if (num_classes > num_samples and spec.task == "classification") or num_classes > _MOST_NUMBERED:
        raise DataError.at(
            found.place,
            f"labels up to {num_classes - 1} in {num_samples} samples do not look like class numbers",
            remedy="set `data.classes: remap` to number the distinct labels from 0, or `data.task: regression`",
        )
    return tuple(found.enum.get(number, str(number)) for number in range(num_classes))


def _numbered_notes(found: FoundLabels, num_classes: int, labels: Labels) -> list[str]:
    """Report class numbers that never occur: labels that start at 1, or have gaps."""
    distinct = found.distinct
    if found.names or labels.one_hot is not None or len(distinct) == num_classes:
        return []
    listed = shortened([str(label_of(label)) for label in distinct], _MOST_LISTED)
    note = (
        f"{found.place}: {num_classes - len(distinct)} of {num_classes} classes never occur, since the labels are "
        f"{listed}; set `data.classes: remap` to number them from 0"
    )
    if int(distinct[-1]) == 255 and len(distinct) > 2:
        note += ", or `data.ignore_label: 255` if 255 marks what has no label"
    return [note]


def _split_notes(found: FoundLabels) -> list[str]:
    """Report labels that are evaluated but never trained on."""
    unseen = [label for label in found.distinct if label not in found.labels["train"]]
    if not unseen:
        return []
    listed = shortened([str(label_of(label)) for label in unseen], _MOST_LISTED)
    return [f"{found.place}: labels that occur in other splits are never trained on: {listed}"]
