"""Sources that hold their samples as arrays: pairs of inputs and targets, found by their names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.channels import channel_axis
from hpc_dl.data.files.format import Samples
from hpc_dl.data.packing.source import SPLIT_NAMES, Channels, Source, Values, Wishes, number_classes
from hpc_dl.errors import DataError, Fault, nearest

_INPUT_NAMES = ("inputs", "x", "images", "image", "data", "features")
_TARGET_NAMES = ("targets", "y", "labels", "label", "target")
_LABEL_ROWS = 1 << 20


class Column(Protocol):
    """An array on the disk, read by rows."""

    name: str  #: ``FILE:/dataset``, for faults
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows_together: int  #: rows that are decoded as one

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows from ``start`` to ``stop``; fast when asked for in order."""

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """Any rows; None where only the order is fast."""

    def close(self) -> None:
        """Let go of the file."""


class PairedSource(Source):
    """Inputs and targets in arrays, one pair for each split, or one pair that is not divided.

    Args:
        path: the file or folder.
        kind: for people.
        pairs: inputs and targets by split; the key is empty where the source is not divided.
        wishes: what the user says.
        files: every file that is read.
        own_format: whether the arrays are those of a file that hpc_dl wrote.
        attributes: what the source tells of itself; ``task`` and ``class_names`` among it where it
            does.
    """

    def __init__(
        self,
        path: Path,
        kind: str,
        pairs: Mapping[str, tuple[Column, Column]],
        wishes: Wishes,
        files: list[Path],
        *,
        own_format: bool = False,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        told = dict(attributes or {})
        self._pairs = list(pairs.values())
        for inputs, targets in self._pairs:
            _check(inputs, targets)
            _check_alike(inputs, self._pairs[0][0])
            _check_alike(targets, self._pairs[0][1])
        inputs, targets = self._pairs[0]
        self._channels = _channel_axis(inputs, "first" if own_format else wishes.channels)
        self._codes: NDArray[Any] | None = None
        names = wishes.class_names or tuple(told.pop("class_names", ()))
        notes = []
        if targets.dtype.kind in "OSU":
            texts = [_text(value) for _, column in self._pairs for value in column.read(0, len_of(column)).reshape(-1)]
            self._codes, names = number_classes(texts, names, targets.name)
            notes.append(f"{len(names)} classes, numbered in this order: {_shown(names)}")
        said = str(told.pop("task", "auto"))
        task = _task(targets, wishes.task if wishes.task != "auto" else said)
        super().__init__(
            path=path,
            kind=kind,
            inputs=Values(self._arrange(np.empty((0, *inputs.shape[1:]))).shape[1:], inputs.dtype.newbyteorder("=")),
            targets=Values(
                () if task == "classification" else targets.shape[1:],
                self._codes.dtype if self._codes is not None else targets.dtype.newbyteorder("="),
            ),
            sizes={split or "train": len_of(pair[0]) for split, pair in pairs.items()},
            divided=len(pairs) > 1,
            task=task,
            class_names=names if task != "regression" else (),
            attributes={key: str(value) for key, value in told.items()},
            notes=notes,
            files=files,
        )
        if self._channels == "none" and len(inputs.shape) == 3:
            self.notes.append(
                f"{inputs.shape} is stored as images (N, 1, H, W); signals (N, C, T) need `--channels first`"
            )
        if task == "classification" and self._codes is None:
            self._check_labels(len(names))

    def blocks(self, start: int) -> Iterator[Samples]:
        """See :class:`Source`."""
        first = 0  # number of the pair's first sample
        for inputs, targets in self._pairs:
            num = len_of(inputs)
            step = max(1, self.rows_per_block // inputs.rows_together) * inputs.rows_together
            begin = max(0, start - first)
            while begin < num:
                # Whole chunks: each is decoded once.
                end = min(num, (begin // step + 1) * step)
                yield Samples(
                    np.ascontiguousarray(self._arrange(inputs.read(begin, end))),
                    self._targets_of(targets, first, begin, end),
                )
                begin = end
            first += num

    def labels(self) -> NDArray[Any] | None:
        """See :class:`Source`."""
        if self.task != "classification":
            return None
        return self._codes if self._codes is not None else np.concatenate(list(self._label_blocks()))

    def take(self, rows: NDArray[np.intp]) -> NDArray[Any] | None:
        """See :class:`Source`; of the training samples only."""
        return self._pairs[0][0].take(rows % self.sizes["train"])

    def close(self) -> None:
        """See :class:`Source`."""
        for pair in self._pairs:
            for column in pair:
                column.close()

    @property
    def rows_together(self) -> int:
        """See :class:`Source`."""
        return self._pairs[0][0].rows_together

    def _targets_of(self, targets: Column, first: int, begin: int, end: int) -> NDArray[Any]:
        if self._codes is not None:
            return self._codes[first + begin : first + end]
        return np.ascontiguousarray(targets.read(begin, end).reshape(end - begin, *self.targets.shape))

    def _arrange(self, inputs: NDArray[Any]) -> NDArray[Any]:
        if self._channels == "last":
            return np.moveaxis(inputs, -1, 1)
        return inputs[:, None] if self._channels == "none" else inputs

    def _label_blocks(self) -> Iterator[NDArray[Any]]:
        """All labels as int32: half of what int64 takes, and there are no more classes than that."""
        for _, targets in self._pairs:
            for start in range(0, len_of(targets), _LABEL_ROWS):
                yield targets.read(start, min(start + _LABEL_ROWS, len_of(targets))).reshape(-1).astype(np.int32)

    def _check_labels(self, num_classes: int) -> None:
        done = 0
        for labels in self._label_blocks():
            wrong = (labels < 0) | (labels >= num_classes) if num_classes else labels < 0
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                raise DataError.at(
                    self._pairs[0][1].name,
                    f"label out of range in sample {done + row}",
                    value=int(labels[row]),
                    allowed=f"0 to {num_classes - 1} (the class names)" if num_classes else "0 and above",
                    remedy="number the classes from 0, or say `--task regression`",
                )
            done += len(labels)


def pair_up(names: Sequence[str], wishes: Wishes, where: Path) -> dict[str, tuple[str, str]]:
    """Find inputs and targets among the names of arrays.

    ``x_train``, ``train_images``, ``train/inputs`` and the like are the training split; plain ``x``
    is not divided.

    Args:
        names: of all arrays.
        wishes: may name them.
        where: the source, for a fault.

    Returns:
        The names of inputs and targets by split, train first; the key is empty where there are no
        splits.

    Raises:
        DataError: there is no such pair; the message lists what there is.
    """
    plain = {name.strip("/"): name for name in names}
    asked = [(wishes.inputs or "").strip("/"), (wishes.targets or "").strip("/")]
    if asked[0] in plain and asked[1] in plain:
        return {"": (plain[asked[0]], plain[asked[1]])}
    by_base: dict[str, dict[str, str]] = {}
    for stripped, name in plain.items():
        split, base = _split_and_base(stripped)
        by_base.setdefault(base.lower(), {})[split] = name
    found = []
    for wish, known, option in ((asked[0], _INPUT_NAMES, "inputs"), (asked[1], _TARGET_NAMES, "targets")):
        base = wish.lower() or next((candidate for candidate in known if candidate in by_base), "")
        if base not in by_base:
            raise DataError.at(
                f"{where}:{wish}" if wish else where,
                "there is no such array" if wish else f"does not tell which array holds the {option}",
                allowed=", ".join(list(names)[:20]) or "the source holds no array",
                remedy=f"name it by `--{option} NAME`; {nearest(wish, names)}".rstrip("; "),
            )
        found.append(by_base[base])
    inputs, targets = found
    splits = [split for split in ("train", "val", "test") if split in inputs and split in targets]
    if "train" in splits:
        return {split: (inputs[split], targets[split]) for split in splits}
    if "" in inputs and "" in targets:
        return {"": (inputs[""], targets[""])}
    raise DataError.at(
        where, "has no training inputs with targets", allowed=", ".join(list(names)[:20]), remedy="name both by "
        "`--inputs` and `--targets`"
    )  # fmt: skip


def len_of(column: Column) -> int:
    """Number of rows."""
    return column.shape[0]


def base_of(name: str) -> str:
    """The name of an array without its split: ``x`` of ``x_train``."""
    return _split_and_base(name)[1]


def _split_and_base(name: str) -> tuple[str, str]:
    words = "|".join(SPLIT_NAMES)
    if match := re.fullmatch(rf"({words})[_/](.+)", name, re.IGNORECASE):
        return SPLIT_NAMES[match[1].lower()], match[2]
    if match := re.fullmatch(rf"(.+)[_/]({words})", name, re.IGNORECASE):
        return SPLIT_NAMES[match[2].lower()], match[1]
    return "", name


def _check(inputs: Column, targets: Column) -> None:
    if not inputs.shape or not inputs.shape[0]:
        raise DataError.at(inputs.name, "holds no samples", value=inputs.shape)
    if targets.shape[:1] != inputs.shape[:1]:
        raise DataError.at(
            targets.name,
            f"has targets of shape {targets.shape} for {inputs.shape[0]} inputs",
            remedy="name arrays that belong together by `--inputs` and `--targets`",
        )
    for column, kinds in ((inputs, "biuf"), (targets, "biufOSU")):
        if column.dtype.kind not in kinds or (column.dtype.kind in "iuf" and column.dtype.itemsize > 8):
            raise DataError.at(
                column.name, "must hold numbers", value=str(column.dtype), allowed="bool, integers, floats to 64 bits"
            )


def _check_alike(column: Column, first: Column) -> None:
    if (column.shape[1:], column.dtype.kind) != (first.shape[1:], first.dtype.kind) or (
        column.dtype.kind in "biuf" and column.dtype != first.dtype
    ):
        raise DataError.at(
            column.name,
            "has samples of another shape or type than the training split",
            value=f"{column.dtype} {column.shape[1:]}",
            allowed=f"{first.dtype} {first.shape[1:]}",
            remedy="store all splits alike",
        )


def _channel_axis(inputs: Column, setting: Channels) -> Channels:
    """The axis of the channels, found as in training, so a packed file keeps its meaning."""
    axis = channel_axis(inputs.shape, setting, where=inputs.name, option="--channels")
    if isinstance(axis, Fault):
        raise DataError(axis)
    return axis


def _task(targets: Column, said: str) -> str:
    kind, width = targets.dtype.kind, targets.shape[1:]
    if said == "auto":
        said = "regression" if kind == "f" else "segmentation" if len(width) > 1 else "classification"
    if said == "classification" and (kind == "f" or width not in ((), (1,))):
        raise DataError.at(
            targets.name,
            "must hold one class number for each sample",
            value=f"{targets.dtype} {targets.shape}",
            remedy="store the class number, or say `--task regression`",
        )
    if said == "regression" and (kind in "OSU" or len(width) > 1):
        raise DataError.at(
            targets.name, "must hold numbers, (N,) or (N, K), for regression", value=f"{targets.dtype} {targets.shape}"
        )
    if said == "segmentation" and (kind not in "biu" or len(width) < 2):
        raise DataError.at(targets.name, "must hold a mask of integers for each sample", value=f"{targets.dtype}")
    return said


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _shown(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
