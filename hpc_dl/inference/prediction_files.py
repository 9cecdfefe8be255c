"""The files of ``hpc-dl predict`` and ``embed``: HDF5 arrays, or CSV with one row per sample."""

from __future__ import annotations

import csv
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.data.files.format import staged
from hpc_dl.data.spec import WITH_CLASSES, DataSpec, TaskName
from hpc_dl.errors import ConfigError
from hpc_dl.inference.samples import Batch
from hpc_dl.inference.vocabulary import Vocabulary

_CHUNK_BYTES = 64 << 10
_IN_CSV: tuple[TaskName, ...] = ("classification", "multilabel", "regression", "sequence_to_sequence")


class PredictionFile(ABC):
    """A file of predictions, extended batch by batch."""

    @abstractmethod
    def add(self, split: str, batch: Batch, outputs: Tensor, offsets: Tensor | None) -> None:
        """Append a batch.

        Args:
            split: of the samples.
            batch: the samples.
            outputs: of the network, (B, …), or (total steps, …) if samples differ in length; the
                classes of written sequences, (total steps,).
            offsets: (B + 1,), where each sample starts in ``outputs``; None if they do not differ.
        """

    @abstractmethod
    def finish(self, about: dict[str, Any]) -> None:
        """Complete the file.

        Args:
            about: attributes of the file.
        """


@contextmanager
def new_prediction_file(out: Path, data: DataSpec, splits: Sequence[str]) -> Iterator[PredictionFile]:
    """Yield a new file, which appears under its name only when the block succeeds.

    Args:
        out: its path; ``.csv`` for a table, otherwise HDF5.
        data: what the model was trained on.
        splits: of the samples.
    """
    with staged(out) as temporary:
        if out.suffix.lower() == ".csv":
            with temporary.open("x", newline="", encoding="utf-8") as file:
                yield PredictionTable(file, data, with_splits=len(splits) > 1)
        else:
            with h5py.File(temporary, "x") as file:
                yield PredictionArrays(file, data, splits)


@contextmanager
def new_embedding_file(out: Path, data: DataSpec, splits: Sequence[str]) -> Iterator[EmbeddingArrays]:
    """Yield a new HDF5 file of embeddings; for the arguments see :func:`new_prediction_file`."""
    with staged(out) as temporary, h5py.File(temporary, "x") as file:
        yield EmbeddingArrays(file, data, splits)


def check_format(out: Path, task: TaskName) -> None:
    """Check that predictions for a task fit into the format of the file.

    Raises:
        ConfigError: they do not fit into a table.
    """
    if out.suffix.lower() == ".csv" and task not in _IN_CSV:
        raise ConfigError.at(
            "--out",
            f"cannot be a table, since a sample has more than one value for the task {task}",
            value=str(out),
            allowed="a name that ends in .h5",
        )


def probabilities(outputs: Tensor, task: TaskName) -> Tensor:
    """The probabilities of labels or classes (axis 1); the outputs themselves for other tasks."""
    if task == "multilabel":
        return outputs.sigmoid()
    return outputs.softmax(1) if task in WITH_CLASSES else outputs


def predictions(outputs: Tensor, task: TaskName) -> Tensor:
    """Class numbers (axis 1 is removed), 0 and 1 for each label, or the values themselves."""
    if task == "sequence_to_sequence":
        return outputs.to(torch.int32)
    if task == "multilabel":
        return (outputs > 0).to(torch.uint8)
    return outputs.argmax(1).to(torch.int32) if task in WITH_CLASSES else outputs


class PredictionArrays(PredictionFile):
    """HDF5 with one group for each split."""

    values = "predictions"  # the dataset of the outputs

    def __init__(self, file: h5py.File, data: DataSpec, splits: Sequence[str]) -> None:
        self._file, self._data = file, data
        self._offsets: dict[str, list[NDArray[Any]]] = {split: [np.zeros(1, np.int64)] for split in splits}
        for split in splits:
            file.create_group(split)

    def add(self, split: str, batch: Batch, outputs: Tensor, offsets: Tensor | None) -> None:
        """See :class:`PredictionFile`."""
        self._add_outputs(split, outputs)
        if batch.names is not None:
            self._append(split, "samples", np.array(batch.names, dtype=object))
        if batch.targets is not None:
            self._append(split, "targets", batch.targets)
        if offsets is not None:
            self._offsets[split].append(offsets[1:].numpy() + self._offsets[split][-1][-1])

    def finish(self, about: dict[str, Any]) -> None:
        """See :class:`PredictionFile`."""
        for split, offsets in self._offsets.items():
            if len(offsets) > 1:
                self._file[split][f"{self.values}_offsets"] = np.concatenate(offsets)
        self._file.attrs.update(about)
        if self._data.class_names:
            self._file.attrs["class_names"] = list(self._data.class_names)
        if labels := self._data.labels_of_classes:
            self._file.attrs["class_labels"] = list(labels)

    def _add_outputs(self, split: str, outputs: Tensor) -> None:
        task = self._data.task
        self._append(split, self.values, _array(predictions(outputs, task)))
        if task in ("classification", "multilabel"):
            self._append(split, "probabilities", _array(probabilities(outputs, task)))

    def _append(self, split: str, name: str, rows: NDArray[Any]) -> None:
        group = self._file[split]
        if name not in group:
            group.create_dataset(
                name,
                (0, *rows.shape[1:]),
                h5py.string_dtype() if rows.dtype == object else rows.dtype,
                maxshape=(None, *rows.shape[1:]),
                chunks=(max(1, _CHUNK_BYTES // max(1, rows[:1].nbytes)), *rows.shape[1:]),
            )
        dataset = group[name]
        dataset.resize(len(dataset) + len(rows), axis=0)
        dataset[-len(rows) :] = rows


class EmbeddingArrays(PredictionArrays):
    """HDF5 with the embeddings of the samples in place of predictions."""

    values = "embeddings"

    def _add_outputs(self, split: str, outputs: Tensor) -> None:
        self._append(split, self.values, _array(outputs))


class PredictionTable(PredictionFile):
    """CSV with a row for each sample: its name, target, prediction and probabilities."""

    def __init__(self, file: Any, data: DataSpec, *, with_splits: bool) -> None:
        self._writer, self._data, self._with_splits = csv.writer(file), data, with_splits
        self._names = data.class_names or tuple(map(str, range(data.num_outputs)))
        self._vocabulary = Vocabulary(self._names)
        self._written: dict[str, int] = {}

    def add(self, split: str, batch: Batch, outputs: Tensor, offsets: Tensor | None) -> None:
        """See :class:`PredictionFile`."""
        task, start = self._data.task, self._written.get(split, 0)
        size = len(outputs) if offsets is None else len(offsets) - 1
        if not self._written:
            self._writer.writerow(self._header(batch))
        self._written[split] = start + size
        if offsets is None:
            predicted = self._shown(_array(predictions(outputs, task)))
        else:
            parts = torch.split(outputs, offsets.diff().tolist())
            predicted = [[self._vocabulary.text(part.tolist())] for part in parts]
        probable = _array(probabilities(outputs, task)).tolist() if self._has_probabilities else [[]] * size
        targets = [[]] * size if batch.targets is None else self._shown(batch.targets)
        names = batch.names or map(str, range(start, start + size))
        for name, target, prediction, chances in zip(names, targets, predicted, probable, strict=True):
            row = [name, *target, *prediction, *(f"{chance:.6g}" for chance in chances)]
            self._writer.writerow([split, *row] if self._with_splits else row)

    def finish(self, about: dict[str, Any]) -> None:
        """See :class:`PredictionFile`; a table has no attributes."""

    def _header(self, batch: Batch) -> list[str]:
        header = ["split", "sample"] if self._with_splits else ["sample"]
        if batch.targets is not None:
            header += self._titles("target")
        header += self._titles("prediction")
        if self._has_probabilities:
            header += [f"probability_{name}" for name in self._names]
        return header

    @property
    def _has_probabilities(self) -> bool:
        return self._data.task in ("classification", "multilabel")

    def _titles(self, title: str) -> list[str]:
        if self._data.task == "multilabel":
            return [f"{title}_{name}" for name in self._names]
        if self._data.task == "regression" and self._data.num_outputs > 1:
            return [f"{title}_{number}" for number in range(self._data.num_outputs)]
        return [title]

    def _shown(self, values: NDArray[Any]) -> list[list[Any]]:
        """The cells of each sample: the name of its class, or its values."""
        if self._data.task == "classification":
            return [[self._names[number]] for number in values.tolist()]
        rows: list[list[Any]] = values.reshape(len(values), -1).tolist()
        return [[f"{value:.7g}" for value in row] for row in rows]


def _array(values: Tensor) -> NDArray[Any]:
    return values.float().numpy() if values.is_floating_point() else values.numpy()
