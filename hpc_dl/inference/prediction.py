"""Predictions of a run's model for the samples of any file: ``hpc-dl predict``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.ragged import Ragged
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.inference.output_file import check_output
from hpc_dl.inference.own_prediction import has_predict_step, predict_by_step
from hpc_dl.inference.prediction_files import check_format, new_prediction_file
from hpc_dl.inference.samples import HowToRead, open_samples
from hpc_dl.inference.trained_model import TrainedModel, default_device
from hpc_dl.learning.abilities import WritesSequences
from hpc_dl.learning.supervised import Supervised
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.training.model_inputs import preprocessed_on


def predict(
    trained: TrainedModel,
    file: Path,
    out: Path,
    *,
    how: HowToRead | None = None,
    beams: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write the model's predictions for every sample of a file or folder.

    The inputs are preprocessed as in the training. Targets are copied from folders and tables that
    have some, and not read from HDF5.

    As HDF5 the result has a group for each split (``all`` if there are none) with ``predictions``:
    class numbers (N,) or (N, *positions), 0 and 1 for each label, or values; ``probabilities`` (N,
    K) if a sample has one class or several labels; ``samples``, the names, and ``targets``, where
    known; ``predictions_offsets`` if predictions differ in length. The attributes ``class_names``
    and, with ``data.classes``, ``class_labels`` list names and stored labels of the classes. As CSV
    it has a row for each sample. Of a user's module with a ``predict_step``, ``predictions`` are
    what that returns.

    Args:
        trained: the model.
        file: HDF5, with inputs stored like those of the training, or what ``hpc-dl data pack``
            reads.
        out: the file to write, ``.csv`` or HDF5; it appears only when it is complete.
        how: how to read the file.
        beams: number of beams of the search for sequences, see :mod:`hpc_dl.nn.beam_search`; None
            for 1, and for models that write none.
        force: replace an existing file, but never ``file`` itself.

    Returns:
        ``run``, ``out``, and the number of samples by group.

    Raises:
        ConfigError: the inputs differ in shape or type from those of the training.
        RunError: the model needs more than inputs, or ``out`` exists, or ``beams`` have no effect.
        DataError: a file cannot be read or written.
    """
    if has_predict_step(trained.model) and not isinstance(trained.model, TrainingModule):
        return _predict_by_step(trained, file, out, how or HowToRead(), beams, force)
    network = trained.network()
    check_output(out, force=force, source=file)
    check_format(out, trained.data.task)
    if beams is not None and trained.data.task != "sequence_to_sequence":
        raise RunError.at(
            "--beams", f"has no effect: {trained.run.name} writes no sequences", allowed="for sequence_to_sequence only"
        )
    device = default_device()
    network.to(device)
    about = {"run": trained.run.name, "checkpoint": trained.checkpoint.path.name, "inputs": str(file)}
    with closing(open_samples(trained, file, how or HowToRead())) as samples:
        with new_prediction_file(out, trained.data, list(samples.sizes)) as results:
            for split in samples.sizes:
                for batch in samples.batches(split, trained.experiment.batch_size_per_device):
                    with other_sizes_reported(file, samples.shape, trained.data.input_shape):
                        outputs = _outputs(trained, network, batch.inputs, device, beams or 1)
                    results.add(split, batch, *outputs)
            results.finish(about)
        return {"run": trained.run.name, "out": str(out), "samples": samples.sizes}


def _predict_by_step(
    trained: TrainedModel, file: Path, out: Path, how: HowToRead, beams: int | None, force: bool
) -> dict[str, Any]:
    """Write what the ``predict_step`` of a user's module returns, unchanged."""
    check_output(out, force=force, source=file)
    name = trained.run.name
    if out.suffix.lower() == ".csv":
        problem = "cannot be a table, since predict_step may return values of any shape"
        raise ConfigError.at("--out", problem, value=str(out), allowed="a name that ends in .h5")
    if beams is not None:
        raise RunError.at("--beams", f"has no effect: {name} predicts with its own predict_step")
    unchanged = replace(trained.data, task="regression", class_names=(), num_outputs=1)
    with closing(open_samples(trained, file, how)) as samples:
        with new_prediction_file(out, unchanged, list(samples.sizes)) as results:
            predict_by_step(trained, samples, results)
            results.finish({"run": name, "checkpoint": trained.checkpoint.path.name, "inputs": str(file)})
        return {"run": name, "out": str(out), "samples": samples.sizes}


@contextmanager
def other_sizes_reported(file: Path, shape: tuple[int, ...], trained_shape: tuple[int, ...]) -> Iterator[None]:
    """Report that the network fails for inputs of another size than in the training.

    Raises:
        ConfigError: it does.
    """
    try:
        yield
    except (RuntimeError, ValueError, IndexError) as error:
        if shape == trained_shape:
            raise
        raise ConfigError.at(
            str(file),
            f"has inputs of a different size than the training data, for which the model fails: "
            f"{str(error).partition(chr(10))[0]:.200}",
            value=shape,
            allowed=f"{trained_shape}, or larger ones",
        ) from None


def _outputs(
    trained: TrainedModel, network: Supervised, batch: Any, device: torch.device, beams: int
) -> tuple[Tensor, Any]:
    """The network's outputs for a batch, and where each sample starts if they differ in length."""
    x, offsets = network_inputs(trained, batch, device)
    with torch.inference_mode():
        if isinstance(network, WritesSequences):
            written = network.sequences(x, beams)
            return written.values.cpu(), written.offsets.cpu()
        outputs = network(x)
    return outputs.cpu(), offsets


def network_inputs(trained: TrainedModel, batch: Any, device: torch.device) -> tuple[Any, Tensor | None]:
    """Preprocess a batch on a device.

    Returns:
        The inputs of ``forward``; and where each sample starts, (B + 1,) on the CPU, if each has as
        many outputs as steps or nodes, and they differ in their number.
    """
    assert isinstance(trained.batches, HDF5DataModule)  # only a user's module has loaders of its own
    preprocessed = preprocessed_on(device, trained.model, trained.batches, batch)
    x = preprocessed if isinstance(preprocessed, dict) else preprocessed[0]
    first = next(iter(x.values())) if isinstance(x, dict) else x
    data = trained.data
    ragged_targets = data.targets and data.targets[0].ragged and data.task != "sequence_to_sequence"
    per_step = isinstance(first, Ragged) and ragged_targets
    return x, first.offsets.cpu() if per_step else None
