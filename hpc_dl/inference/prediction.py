"""Predictions of a run's model for the samples of any file: ``hpc-dl predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from hpc_dl.data.batches.loader import tensors
from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.files.format import staged
from hpc_dl.data.preprocessed_spec import spec_after_preprocessing
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import SPLITS, WITH_CLASSES, DataSpec, TaskName
from hpc_dl.data.split_config import SplitFractions, SplitGroups, Splits
from hpc_dl.data.storage.dependencies import item_at
from hpc_dl.data.storage.hdf5 import open_file
from hpc_dl.errors import ConfigError, DataError
from hpc_dl.inference.output_file import check_output
from hpc_dl.inference.trained_model import TrainedModel, default_device
from hpc_dl.learning.supervised import Supervised
from hpc_dl.training.model_inputs import preprocessed_on

_CHUNK_BYTES = 64 << 10


def predict(
    trained: TrainedModel, file: Path, out: Path, *, inputs: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Write the model's predictions for every sample of a file; no targets are read.

    The result has a group for each split of the file (``all`` if it has none) with
    ``predictions``: class numbers (N,) or (N, *positions), 0 and 1 for each label, or values;
    ``probabilities`` (N, K) if a sample has one class or several labels; ``predictions_offsets`` if
    samples differ in length. The attributes ``class_names`` and, with ``data.classes``,
    ``class_labels`` list names and stored labels of the classes. The inputs are preprocessed as in
    the training.

    Args:
        trained: the model.
        file: HDF5, with inputs stored like those of the training.
        out: the file to write; it appears only when it is complete.
        inputs: dataset of the inputs, if it has another name than in the training.
        force: replace an existing file, but never ``file`` itself.

    Returns:
        ``run``, ``out``, and the number of samples by group.

    Raises:
        ConfigError: the inputs differ in shape or type from those of the training.
        RunError: the model needs more than inputs, or ``out`` exists.
        DataError: a file cannot be read or written.
    """
    network = trained.network()
    check_output(out, force=force, source=file)
    groups = _groups_by_split(file, inputs or trained.data.inputs[0].name)
    data_file = _open_inputs(trained, file, inputs, groups)
    device = default_device()
    network.to(device)
    sizes = {}
    with staged(out) as temporary, h5py.File(temporary, "x") as results:
        for split, group in groups.items():
            writer = _Writer(results.create_group(group or "all"), trained.data)
            with data_file.reader(split) as reader:
                batch_size = trained.experiment.batch_size_per_device
                for start in range(0, len(reader), batch_size):
                    samples = np.arange(start, min(start + batch_size, len(reader)))
                    batch = data_file.spec.batch(tensors(reader.read(samples)))
                    writer.add(*_outputs(trained, network, batch, device))
            sizes[group or "all"] = writer.finish()
        results.attrs.update(run=trained.run.name, checkpoint=trained.checkpoint.path.name, inputs=str(file))
        if trained.data.class_names:
            results.attrs["class_names"] = list(trained.data.class_names)
        if labels := trained.data.labels_of_classes:
            results.attrs["class_labels"] = list(labels)
    return {"run": trained.run.name, "out": str(out), "samples": sizes}


def probabilities(outputs: Tensor, task: TaskName) -> Tensor:
    """The probabilities of labels or classes (axis 1); the outputs themselves for other tasks."""
    if task == "multilabel":
        return outputs.sigmoid()
    return outputs.softmax(1) if task in WITH_CLASSES else outputs


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
    if expected != actual and not config.crop:
        raise ConfigError.at(
            str(file),
            "has inputs of another shape than the training data",
            value=", ".join(str(shape) for shape, _ in actual),
            allowed=", ".join(str(shape) for shape, _ in expected),
            remedy="store them in the same shape, or choose another dataset with --inputs",
        )
    return data_file


def _outputs(trained: TrainedModel, network: Supervised, batch: Any, device: torch.device) -> tuple[Tensor, Any]:
    """The network's outputs for a batch, and where each sample starts if they differ in length."""
    assert isinstance(trained.batches, HDF5DataModule)  # since it is no user's module
    preprocessed = preprocessed_on(device, network, trained.batches, batch)
    x = preprocessed if isinstance(preprocessed, dict) else preprocessed[0]
    first = next(iter(x.values())) if isinstance(x, dict) else x
    with torch.inference_mode():
        outputs = network(x)
    per_step = isinstance(first, Ragged) and trained.data.targets and trained.data.targets[0].ragged
    return outputs.cpu(), first.offsets.cpu() if per_step else None


class _Writer:
    """The datasets of one group, extended batch by batch."""

    def __init__(self, group: h5py.Group, data: DataSpec) -> None:
        self._group = group
        self._data = data
        self._samples = 0
        self._offsets = [np.zeros(1, np.int64)]

    def add(self, outputs: Tensor, offsets: Tensor | None) -> None:
        """Append a batch.

        Args:
            outputs: (B, …), or (total steps, …) if samples differ in length.
            offsets: (B + 1,), where each sample starts in ``outputs``.
        """
        task = self._data.task
        if task == "multilabel":
            self._append("predictions", (outputs > 0).to(torch.uint8))
        elif task in WITH_CLASSES:
            self._append("predictions", outputs.argmax(1).to(torch.int32))
        else:
            self._append("predictions", outputs)
        if task in ("classification", "multilabel"):
            self._append("probabilities", probabilities(outputs, task))
        if offsets is None:
            self._samples += len(outputs)
        else:
            self._samples += len(offsets) - 1
            self._offsets.append(offsets[1:].numpy() + self._offsets[-1][-1])

    def finish(self) -> int:
        """Write the offsets, if any, and return the number of samples."""
        if len(self._offsets) > 1:
            self._group["predictions_offsets"] = np.concatenate(self._offsets)
        return self._samples

    def _append(self, name: str, values: Tensor) -> None:
        rows = values.float().numpy() if values.is_floating_point() else values.numpy()
        if name not in self._group:
            per_chunk = max(1, _CHUNK_BYTES // max(1, rows[:1].nbytes))
            self._group.create_dataset(
                name,
                (0, *rows.shape[1:]),
                rows.dtype,
                maxshape=(None, *rows.shape[1:]),
                chunks=(per_chunk, *rows.shape[1:]),
            )
        dataset = self._group[name]
        dataset.resize(len(dataset) + len(rows), axis=0)
        dataset[-len(rows) :] = rows
