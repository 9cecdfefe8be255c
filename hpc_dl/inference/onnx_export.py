"""Export of a run's model as ONNX, preprocessing included: ``hpc-dl export``."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from hpc_dl.data.datamodule import HDF5DataModule
from hpc_dl.data.files.format import staged
from hpc_dl.data.preprocessing.pipeline import Preprocessing
from hpc_dl.data.spec import WITH_CLASSES, TaskName
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.inference.output_file import check_output
from hpc_dl.inference.prediction_files import probabilities
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.learning.abilities import GeneratesSamples
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig

_COMPARED_SAMPLES = 8
_LARGEST_DIFFERENCE = 1e-3  # of probabilities, or relative to the largest output


def export(trained: TrainedModel, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the model as one ONNX file, after comparing its outputs with the model's.

    Its input ``inputs`` are samples as stored in the data file, for any batch size. Its output is
    ``probabilities`` with the classes on axis 1, or ``predictions`` for tasks without classes. For
    a model that generates samples, the input is random numbers (batch, latent) from N(0, 1), and
    the output is ``samples`` in the units of the data, channels first. The metadata hold classes,
    run and checkpoint.

    Args:
        trained: the model.
        out: the file to write; it appears only when it is complete.
        force: replace an existing file.

    Returns:
        ``run``, ``out``, ``inputs``, ``output``, the number of ``compared`` samples and the
        ``largest_difference`` among them.

    Raises:
        RunError: the file exists, or ONNX cannot represent this model.
        ConfigError: the ONNX packages are not installed.
    """
    check_output(out, force=force)
    if trained.can("generate samples"):
        generator = cast(GeneratesSamples, trained.model)
        pipeline: nn.Module = _GenerationPipeline(trained.model)
        inputs, output = generator.noise(_COMPARED_SAMPLES), "samples"
    else:
        pipeline, inputs = _prediction_pipeline(trained)
        output = "probabilities" if trained.data.task in WITH_CLASSES else "predictions"
    with torch.no_grad():
        expected = pipeline(inputs)  # before tracing, since the first call caches constants on the device
    metadata = {
        "run": trained.run.name,
        "checkpoint": trained.checkpoint.path.name,
        "classes": "\n".join(trained.data.class_names),
    }
    with staged(out) as temporary:
        to_onnx(pipeline, inputs, temporary, output, metadata)
        difference = _largest_difference(temporary, inputs, expected)
        if not difference <= _LARGEST_DIFFERENCE * max(1.0, float(expected.abs().max())):
            raise RunError.at(
                trained.run.name, f"cannot be exported: the outputs of the ONNX file differ by {difference:.2g}"
            )
    return {
        "run": trained.run.name,
        "out": str(out),
        "inputs": {"dtype": str(inputs.dtype).removeprefix("torch."), "shape": list(inputs.shape[1:])},
        "output": output,
        "compared": len(inputs),
        "largest_difference": difference,
    }


def _prediction_pipeline(trained: TrainedModel) -> tuple[nn.Module, Tensor]:
    """Return a network from stored samples to predictions, and some samples.

    Raises:
        RunError: ONNX cannot represent this model.
    """
    data = trained.data
    network = trained.network()
    assert isinstance(trained.batches, HDF5DataModule)  # only a user's module has loaders of its own
    if reason := _not_representable(trained):
        raise RunError.at(trained.run.name, f"cannot be exported: {reason}")
    split = "test" if "test" in data.sizes else "train"
    samples = np.arange(min(_COMPARED_SAMPLES, data.sizes[split]))
    (inputs, *_) = trained.batches.read_batch(split, samples)
    assert isinstance(inputs, Tensor)  # the model has one dense input, or it would not be representable
    channels = data.inputs[0].channels
    stored = inputs
    if channels == "last":
        stored = inputs.movedim(1, -1).contiguous()
    elif channels == "none":
        stored = inputs.squeeze(1)
    return _PredictionPipeline(network, trained.batches.preprocessings[0], data.task, channels), stored


def to_onnx(
    network: nn.Module, inputs: Tensor, path: Path, output: str, metadata: dict[str, str] | None = None
) -> None:
    """Write a network with one input and one output, for any batch size.

    Args:
        network: in evaluation mode.
        inputs: a batch of more than one sample.
        path: the file to write.
        output: name of the output.
        metadata: names and values to store with the model.

    Raises:
        ConfigError: the ONNX packages are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError.at(
            "export", "needs the ONNX packages", remedy="install them: pip install 'hpc_dl[onnx]'"
        ) from None

    shapes = ({0: torch.export.Dim("batch")},)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # torch prints each of its steps
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, (inputs,), dynamo=True, dynamic_shapes=shapes, input_names=["inputs"], output_names=[output]
        )
    assert program is not None  # None only if torch writes the file itself
    program.model.metadata_props.update(metadata or {})
    program.save(path)


def _not_representable(trained: TrainedModel) -> str:
    """Why ONNX cannot represent the model; empty if it can."""
    config = trained.experiment.model
    if isinstance(config, ModelConfig) and config.no_export:
        return config.no_export
    if not trained.data.is_dense:
        return "ONNX requires all samples to have the same shape, and these differ in length"
    return ""


class _PredictionPipeline(nn.Module):
    """From stored samples to predictions: channel order, preprocessing, network, probabilities."""

    def __init__(self, model: Supervised, preprocessing: Preprocessing, task: TaskName, channels: str) -> None:
        super().__init__()
        self._channels = channels
        self.model = model.eval()
        self._preprocessing = preprocessing
        self._task = task

    def forward(self, stored: Tensor) -> Tensor:
        if self._channels == "last":
            stored = stored.movedim(-1, 1)
        elif self._channels == "none":
            stored = stored.unsqueeze(1)
        return probabilities(self.model(self._preprocessing(stored)), self._task)


class _GenerationPipeline(nn.Module):
    """From random numbers to samples in the units of the data."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.eval()

    def forward(self, z: Tensor) -> Tensor:
        samples: Tensor = cast(GeneratesSamples, self.model).decode(z)
        return samples


def _largest_difference(path: Path, stored: Tensor, expected: Tensor) -> float:
    """The largest difference between the outputs of the file and those of the model."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    actual = session.run(None, {"inputs": stored.numpy()})[0]
    return float(np.abs(actual - expected.numpy()).max())
