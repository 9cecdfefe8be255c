"""Vectors that represent samples, from a run's model: ``hpc-dl embed``."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from hpc_dl.errors import RunError
from hpc_dl.inference.output_file import check_output
from hpc_dl.inference.prediction import network_inputs, other_sizes_reported
from hpc_dl.inference.prediction_files import new_embedding_file
from hpc_dl.inference.samples import HowToRead, open_samples
from hpc_dl.inference.trained_model import TrainedModel, default_device
from hpc_dl.learning.abilities import EmbedsSamples

SUFFIXES = (".h5", ".hdf5")


def embed(
    trained: TrainedModel, file: Path, out: Path, *, how: HowToRead | None = None, force: bool = False
) -> dict[str, Any]:
    """Write the embedding of every sample of a file or folder: the last hidden layer, or the code.

    The result has a group for each split (``all`` if there are none) with ``embeddings``: (N, F),
    or (N, F, *positions) for a class per pixel; ``embeddings_offsets`` where each sample has a
    different number of steps or nodes; and ``samples`` and ``targets`` as :func:`predict
    <hpc_dl.inference.prediction.predict>` writes them.

    Args:
        trained: a model with the ability ``embed``.
        file: as for :func:`predict <hpc_dl.inference.prediction.predict>`.
        out: the HDF5 file to write; it appears only when it is complete.
        how: how to read the file.
        force: replace an existing file, but never ``file`` itself.

    Returns:
        ``run``, ``out``, the number of samples by group, and the ``shape`` of an embedding.

    Raises:
        ConfigError: the inputs differ in shape or type from those of the training.
        RunError: ``out`` exists, or is not an HDF5 file.
        DataError: a file cannot be read or written.
    """
    check_output(out, force=force, source=file)
    if out.suffix not in SUFFIXES:
        raise RunError.at(out, "has a suffix that is not a format for embeddings", allowed=", ".join(SUFFIXES))
    device = default_device()
    model = cast(EmbedsSamples, trained.model.to(device))
    about = {"run": trained.run.name, "checkpoint": trained.checkpoint.path.name, "inputs": str(file)}
    shape: tuple[int, ...] = ()
    with closing(open_samples(trained, file, how or HowToRead())) as samples:
        with new_embedding_file(out, trained.data, list(samples.sizes)) as results:
            for split in samples.sizes:
                for batch in samples.batches(split, trained.experiment.batch_size_per_device):
                    x, offsets = network_inputs(trained, batch.inputs, device)
                    with other_sizes_reported(file, samples.shape, trained.data.input_shape), torch.inference_mode():
                        embeddings: Tensor = model.embed(x).cpu()
                    shape = tuple(embeddings.shape[1:])
                    results.add(split, batch, embeddings, offsets)
            results.finish(about)
        return {"run": trained.run.name, "out": str(out), "samples": samples.sizes, "shape": list(shape)}
