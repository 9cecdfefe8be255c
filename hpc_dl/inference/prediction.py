"""Applying a run's model to the samples of any file: ``hpc-dl predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from hpc_dl.data.batches.loader import tensors
from hpc_dl.data.config import SplitFractions, SplitGroups, Splits
from hpc_dl.data.files.data_file import DataFile, open_data
from hpc_dl.data.files.format import staged
from hpc_dl.data.preprocessed_spec import spec_after_preprocessing
from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import SPLITS, WITH_CLASSES, DataSpec
from hpc_dl.data.storage.hdf5 import open_file
from hpc_dl.errors import ConfigError, DataError, RunError
from hpc_dl.inference.trained_model import FinishedModel, device
from hpc_dl.learning.supervised import Supervised

_CHUNK_BYTES = 64 << 10


def predict(
    finished: FinishedModel, file: Path, out: Path, *, inputs: str | None = None, force: bool = False
) -> dict[str, Any]:
    """Write what the model says of every sample of a file; targets are not needed, and not looked
    at.

    The result has a group for each split of the file (``all`` where it is not divided), with
    ``predictions``: class numbers (N,) or (N, *positions), 0 and 1 for each label, or values;
    ``probabilities`` (N, K) for one class or several labels of a sample; ``predictions_offsets``
    where samples differ in length. All preprocessing is that of the training.

    Args:
        finished: the model.
        file: HDF5, its inputs stored as those of the training.
        out: the file to write, at once or not at all.
        inputs: dataset of the inputs, where it is another than in the training.
        force: replace a file that is there; never the one that is read.

    Returns:
        ``run``, ``out``, and the number of samples by group.

    Raises:
        ConfigError: the inputs are of another shape or type than those of the training.
        RunError: the model gives no outputs for inputs alone.
        DataError: a file cannot be read or written.
    """
    model = finished.model
    if not isinstance(model, Supervised) or finished.data.task == "sequence_to_sequence":
        raise RunError.at(finished.run.name, f"{type(model).__name__} gives no outputs for inputs alone")
    if out.exists() and (not force or (file.exists() and out.samefile(file))):
        which = "the file that is read" if file.exists() and out.samefile(file) else "there already"
        remedy = "give another name" if force else "give another name, or replace another file by --force"
        raise RunError.at(out, f"is {which}", remedy=remedy)
    groups = _groups(file, inputs or finished.data.inputs[0].name)
    source = _opened(finished, file, inputs, groups)
    where = device()
    model.to(where)
    sizes = {}
    with staged(out) as temporary, h5py.File(temporary, "x") as results:
        for split, group in groups.items():
            writer = _Writer(results.create_group(group or "all"), finished.data)
            with source.reader(split) as reader:
                step = finished.experiment.batch_size_per_device
                for start in range(0, len(reader), step):
                    rows = np.arange(start, min(start + step, len(reader)))
                    writer.add(*_outputs(finished, model, source.spec.batch(tensors(reader.read(rows))), where))
            sizes[group or "all"] = writer.finish()
        results.attrs.update(run=finished.run.name, checkpoint=finished.checkpoint.path.name, inputs=str(file))
        if finished.data.class_names:
            results.attrs["class_names"] = list(finished.data.class_names)
    return {"run": finished.run.name, "out": str(out), "samples": sizes}


def _groups(file: Path, inputs: str) -> dict[str, str]:
    """What the reader shall call a split, and the group that it lies in; an empty one where the
    file is not divided.
    """
    with open_file(file) as opened:
        if isinstance(opened.get(inputs), h5py.Dataset):
            return {"train": ""}
        there = [name for name in opened if isinstance(opened.get(f"{name}/{inputs}"), h5py.Dataset)]
    if not there:
        raise DataError.at(
            f"{file}:{inputs}",
            "there is no such dataset, in the file or in a group of it",
            remedy="name the dataset of the inputs with --inputs",
        )
    ordered = sorted(there, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name))
    return dict(zip(SPLITS, ordered, strict=False))


def _opened(finished: FinishedModel, file: Path, inputs: str | None, groups: dict[str, str]) -> DataFile:
    """The file as the training would read it, without targets.

    Raises:
        ConfigError: the inputs are of another shape or type than those of the training.
    """
    trained = finished.experiment.data
    if groups == {"train": ""}:
        splits = Splits(fractions=SplitFractions(train=1.0, val=0.0, test=0.0))
    else:
        splits = Splits(groups=SplitGroups(**{split: groups.get(split) for split in SPLITS}))  # type: ignore[arg-type]
    changes: dict[str, Any] = {"file": str(file), "splits": splits, "task": "reconstruction", "crop": None}
    if inputs is not None:
        changes["inputs"] = inputs
    if isinstance(trained.targets, list):
        changes["targets"] = "targets"
    found = open_data(file, trained.model_copy(update=changes))
    wanted = [(field.shape, field.ragged) for field in finished.data.inputs]
    given = [(field.shape, field.ragged) for field in spec_after_preprocessing(found.spec, trained).inputs]
    if wanted != given and not trained.crop:
        raise ConfigError.at(
            str(file),
            "has other inputs than the training",
            value=", ".join(str(shape) for shape, _ in given),
            allowed=", ".join(str(shape) for shape, _ in wanted),
            remedy="store them alike, or name another dataset with --inputs",
        )
    return found


def _outputs(finished: FinishedModel, model: Supervised, batch: Any, where: torch.device) -> tuple[Tensor, Any]:
    """What the model gives for a batch, and where each sample begins in it if they differ in
    length.
    """
    moved = model.transfer_batch_to_device(batch, where, 0)
    scaled = finished.batches.preprocessed(moved)
    x = scaled if isinstance(scaled, dict) else scaled[0]
    first = next(iter(x.values())) if isinstance(x, dict) else x
    with torch.inference_mode():
        outputs = model(x)
    by_step = isinstance(first, Ragged) and finished.data.targets and finished.data.targets[0].ragged
    return outputs.cpu(), first.offsets.cpu() if by_step else None


class _Writer:
    """The datasets of one group, written as they grow."""

    def __init__(self, group: h5py.Group, data: DataSpec) -> None:
        self._group = group
        self._data = data
        self._samples = 0
        self._offsets = [np.zeros(1, np.int64)]

    def add(self, outputs: Tensor, offsets: Tensor | None) -> None:
        """Add a batch."""
        task = self._data.task
        if task == "multilabel":
            self._append("predictions", (outputs > 0).to(torch.uint8))
            self._append("probabilities", outputs.sigmoid())
        elif task in WITH_CLASSES:
            self._append("predictions", outputs.argmax(1).to(torch.int32))
            if task == "classification":
                self._append("probabilities", outputs.softmax(1))
        else:
            self._append("predictions", outputs)
        if offsets is None:
            self._samples += len(outputs)
        else:
            self._samples += len(offsets) - 1
            self._offsets.append(offsets[1:].numpy() + self._offsets[-1][-1])

    def finish(self) -> int:
        """Write what is known only now; the number of samples."""
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
