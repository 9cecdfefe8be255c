"""Samples from a generative model, as HDF5 or as one picture: ``hpc-dl generate``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from numpy.typing import NDArray

from hpc_dl.data.files.format import staged
from hpc_dl.errors import RunError
from hpc_dl.inference.image_grid import image_grid, save_png
from hpc_dl.inference.output_file import check_output
from hpc_dl.inference.trained_model import TrainedModel, default_device
from hpc_dl.learning.abilities import GeneratesSamples

SUFFIXES = (".h5", ".hdf5", ".png")


def generate_samples(
    trained: TrainedModel, out: Path, count: int = 64, seed: int = 0, *, force: bool = False
) -> dict[str, Any]:
    """Write generated samples in the units, axes and type of the training data.

    Args:
        trained: a model with the ability ``generate samples``.
        out: ``.h5``, with one dataset of the same name as the inputs of the training; or ``.png``,
            a grid of images.
        count: number of samples.
        seed: seed of the random numbers; the same seed gives the same samples.
        force: replace an existing file.

    Returns:
        ``run``, ``checkpoint``, ``out``, ``count``, ``seed``, and ``shape`` and ``dtype`` of the
        samples.

    Raises:
        RunError: ``out`` exists, has another suffix, or the samples are not images.
        ConfigError: Pillow is not installed.
    """
    check_samples_output(trained, out, force=force)
    field = trained.data.inputs[0]
    model = cast(GeneratesSamples, trained.model.to(default_device()))
    samples = _as_stored(model.sample(count, seed).cpu().numpy(), field.dtype)
    stored = samples
    if field.channels == "last":
        stored = np.moveaxis(samples, 1, -1)
    elif field.channels == "none":
        stored = samples[:, 0]
    origin = {"run": trained.run.name, "checkpoint": trained.checkpoint.path.name, "seed": seed}
    with staged(out) as temporary:
        if out.suffix == ".png":
            save_png(image_grid(samples), temporary, {name: str(value) for name, value in origin.items()})
        else:
            with h5py.File(temporary, "x") as file:
                file[field.name] = stored
                file.attrs.update(origin)
    shape = list(stored.shape[1:])
    return {**origin, "out": str(out), "count": count, "shape": shape, "dtype": str(stored.dtype)}


def check_samples_output(trained: TrainedModel, out: Path, *, force: bool) -> None:
    """Check that samples can be written to a file of this name.

    Raises:
        RunError: it exists, has another suffix, or the samples are not images.
    """
    if out.suffix not in SUFFIXES:
        raise RunError.at(out, "has a suffix that is not a format for samples", allowed=", ".join(SUFFIXES))
    if out.suffix == ".png" and (trained.data.input_kind != "image" or trained.data.num_channels not in (1, 3)):
        raise RunError.at(
            out,
            f"can show images with 1 or 3 channels only, and {trained.run.name} generates samples of the shape "
            f"{trained.data.input_shape}",
            remedy="write HDF5: --out samples.h5",
        )
    check_output(out, force=force)


def _as_stored(samples: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Round and clip to the type of the training data, if that is an integer."""
    if not np.issubdtype(np.dtype(dtype), np.integer):
        return samples
    limits = np.iinfo(dtype)
    rounded: NDArray[Any] = np.rint(samples).clip(limits.min, limits.max).astype(dtype)
    return rounded
