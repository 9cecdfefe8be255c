"""Class numbers from labels: texts, or numbers that do not count from 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.packing.number_texts import number_of, other_notation, text_of
from hpc_dl.data.packing.source import PackOptions
from hpc_dl.errors import DataError
from hpc_dl.formatting import shortened

# More classes than these are likely values, if most of them occur once or twice.
_FEW = 20


def number_classes(texts: Sequence[str], named: Sequence[str], where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Convert labels that are strings to class numbers.

    Args:
        texts: the label of each sample.
        named: the class names given by the user, in the order of their numbers; empty to sort the
            existing labels (numerically, else alphabetically).
        where: where the labels are, for messages.

    Returns:
        (N,) class numbers, and the names of the classes.

    Raises:
        DataError: a label is not among the given names, or most labels are different.
    """
    labels = sorted(set(texts), key=_by_value)
    if named and (unknown := [label for label in labels if label not in named]):
        raise DataError.at(
            where,
            "has a label that is not a class name",
            value=unknown[0],
            allowed=", ".join(named),
            remedy="correct it, or add it to the class names",
        )
    if not named and too_many(len(labels), len(texts)):
        raise DataError.at(
            where,
            f"has {len(labels)} different labels for {len(texts)} samples, too many for classes",
            remedy="choose other targets with `--targets`, or use `--task regression`",
        )
    names = tuple(named) or tuple(labels)
    number = {name: index for index, name in enumerate(names)}
    return np.array([number[text] for text in texts], label_type(len(names))), names


def class_notes(names: Sequence[str]) -> list[str]:
    """Say how classes are numbered, and whether two names differ in case only."""
    if not names:
        return []
    notes = [f"{len(names):,} classes, numbered in this order: {shortened(names)}"]
    by_case: dict[str, list[str]] = {}
    for name in names:
        by_case.setdefault(name.casefold(), []).append(name)
    if alike := [" and ".join(map(repr, same)) for same in by_case.values() if len(same) > 1]:
        notes.append(f"names that differ in upper and lower case only are different classes: {shortened(alike, 5)}")
    return notes


def label_type(num_classes: int) -> np.dtype[Any]:
    """Return the smallest type for class numbers that both NumPy and torch support."""
    return np.dtype(np.uint8 if num_classes <= 256 else np.int32)


def labels_or_values(
    texts: Sequence[str], options: PackOptions, where: str
) -> tuple[str, NDArray[Any], tuple[str, ...]]:
    """Read labels that are written as texts.

    Args:
        texts: the label of each sample.
        options: the task and the class names; by default, numbers of which some are not whole are
            values, and anything else is a class.
        where: where the labels are, for messages.

    Returns:
        The task, (N,) class numbers or values, and the names of the classes.

    Raises:
        DataError: a value is not a number, or a label is not among the class names.
    """
    task = options.task if options.task in ("classification", "regression") else _task_of(texts, where)
    if task == "classification":
        return task, *number_classes(texts, options.class_names, where)
    return task, np.array([_value(text, where) for text in texts], np.float32), ()


def remapped_classes(values: NDArray[Any], named: Sequence[str], where: str) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Number the labels that occur from 0, in ascending order.

    Args:
        values: (N,) or (N, 1) whole numbers, or (N, K) with a single 1 in each row (one-hot).
        named: names of the classes that occur, in ascending order; empty to name them by number.
        where: where the labels are, for messages.

    Returns:
        (N,) class numbers, and the names of the classes.

    Raises:
        DataError: the values are not labels, or there are more or fewer classes than names.
    """
    values = np.asarray(values)
    if values.ndim == 2 and values.shape[1] > 1 and is_one_hot(values):
        values = values.argmax(1)
    if values.size != len(values):
        raise DataError.at(where, "must contain one label per sample", value=values.shape)
    flat = values.reshape(-1)
    if flat.dtype.kind == "f" and len(invalid := np.flatnonzero(~is_whole(flat))):
        raise DataError.at(
            where,
            f"has a label that is not a whole number in sample {invalid[0]}",
            value=flat[invalid[0]].item(),
            remedy="correct it, or use `--task regression`",
        )
    distinct, codes = np.unique(flat, return_inverse=True)
    if too_many(len(distinct), len(flat)):
        raise DataError.at(
            where,
            f"has {len(distinct)} different labels for {len(flat)} samples, too many for classes",
            remedy="use `--task regression`, or choose other targets with `--targets`",
        )
    if named and len(named) != len(distinct):
        raise DataError.at(
            where,
            f"has {len(distinct)} different labels ({shortened(list(map(text_of, distinct)))})",
            allowed=f"the {len(named)} class names: {shortened(named)}",
            remedy="correct `--class-names`",
        )
    names = tuple(named) or tuple(map(text_of, distinct))
    return codes.astype(label_type(len(names))), names


def is_one_hot(values: NDArray[Any]) -> bool:
    """Whether each row of (N, K) has a single 1 and otherwise 0."""
    return bool(((values == 0) | (values == 1)).all() and (values.sum(1) == 1).all())


def is_whole(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each value is a finite whole number."""
    return np.asarray(np.isfinite(values) & (values == np.rint(values)))


def too_many(num_labels: int, num_samples: int) -> bool:
    """Whether so many different labels are more likely values or names than classes."""
    return num_labels > _FEW and num_labels > num_samples / 2


def _by_value(text: str) -> tuple[int, float, str]:
    try:
        return 0, number_of(text), text
    except ValueError:
        return 1, 0.0, text


def _task_of(texts: Sequence[str], where: str) -> str:
    """Infer the task: regression if all are numbers and some are not integers."""
    try:
        return "regression" if any(not number_of(text).is_integer() for text in texts) else "classification"
    except ValueError:
        pass
    if notation := other_notation(texts):
        remedy = f"{notation[1]}; or `--task classification` if they are classes"
        raise DataError.at(where, notation[0], remedy=remedy)
    return "classification"


def _value(text: str, where: str) -> float:
    try:
        if math.isfinite(value := number_of(text)):
            return value
    except ValueError:
        pass
    raise DataError.at(
        where, "is not a finite number", value=text, remedy="correct it, or use `--task classification`"
    ) from None
