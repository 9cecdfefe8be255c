"""A run's model as ONNX, with its preprocessing, for programs that have no torch: ``hpc-dl
export``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hpc_dl.data.files.format import staged
from hpc_dl.data.preprocessing.pipeline import Preprocessing
from hpc_dl.data.spec import WITH_CLASSES, TaskName
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.inference.trained_model import FinishedModel
from hpc_dl.learning.supervised import Supervised
from hpc_dl.models.base import ModelConfig

_COMPARED = 8  # samples
_LARGEST_DIFFERENCE = 1e-3  # of probabilities, or relative to the largest output


def export(finished: FinishedModel, out: Path, *, force: bool = False) -> dict[str, Any]:
    """Write the model as one ONNX file, once it was seen to compute what the model does.

    Its input ``inputs`` are samples as the file stores them, for any batch size. Its output is
    ``probabilities`` of the classes on axis 1, or ``predictions`` where there are no classes.
    Classes, run and checkpoint are its metadata.

    Args:
        finished: the model.
        out: the file to write, at once or not at all.
        force: replace a file that is there.

    Returns:
        ``run``, ``out``, ``inputs``, ``output``, ``compared`` samples and the
        ``largest_difference`` among them.

    Raises:
        RunError: the file is there, or this model has no form that ONNX knows.
        ConfigError: the packages are not installed.
    """
    model, data = finished.model, finished.data
    if reason := not_exported(finished):
        raise RunError.at(finished.run.name, f"cannot be exported: {reason}")
    assert isinstance(model, Supervised)
    if out.exists() and not force:
        raise RunError.at(out, "is there already", remedy="give another name, or replace it by --force")
    split = "test" if "test" in data.sizes else "train"
    samples = np.arange(min(_COMPARED, data.sizes[split]))
    (read, *_) = finished.batches.read_batch(split, samples)
    assert isinstance(read, Tensor)  # one dense input, or there would be a reason
    channels = data.inputs[0].channels
    stored = read
    if channels == "last":
        stored = read.movedim(1, -1).contiguous()
    elif channels == "none":
        stored = read.squeeze(1)
    network = _Deployed(model, finished.batches.preprocessings[0], data.task, channels)
    with torch.no_grad():
        expected = network(stored)  # before it is traced: numbers that are kept on the device are kept by now
    name = "probabilities" if data.task in WITH_CLASSES else "predictions"
    facts = {
        "run": finished.run.name,
        "checkpoint": finished.checkpoint.path.name,
        "classes": "\n".join(data.class_names),
    }
    with staged(out) as temporary:
        to_onnx(network, stored, temporary, name, facts)
        difference = _difference(temporary, stored, expected)
        if not difference <= _LARGEST_DIFFERENCE * max(1.0, float(expected.abs().max())):
            raise RunError.at(finished.run.name, f"ONNX computes something else: {difference:.2g} apart")
    return {
        "run": finished.run.name,
        "out": str(out),
        "inputs": {"dtype": str(stored.dtype).removeprefix("torch."), "shape": list(stored.shape[1:])},
        "output": name,
        "compared": len(samples),
        "largest_difference": difference,
    }


def not_exported(finished: FinishedModel) -> str:
    """Why a model has no form that ONNX knows; empty where it has."""
    model, data = finished.model, finished.data
    if not isinstance(model, Supervised) or data.task == "sequence_to_sequence":
        return f"{type(model).__name__} gives no outputs for inputs alone"
    config = finished.experiment.model
    if isinstance(config, ModelConfig) and config.no_export:
        return config.no_export
    if not data.is_dense:
        return "ONNX has arrays of one shape for all samples, and these differ in length"
    return ""


def to_onnx(network: nn.Module, inputs: Tensor, path: Path, output: str, facts: dict[str, str] | None = None) -> None:
    """Write a network of one input and one output, for any batch size.

    Args:
        network: in evaluation mode.
        inputs: a batch of more than one sample.
        path: the file to write.
        output: name of the output.
        facts: metadata.

    Raises:
        ConfigError: the packages are not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise ConfigError.at("export", "needs ONNX", remedy="install it: pip install 'hpc_dl[onnx]'") from None

    shapes = ({0: torch.export.Dim("batch")},)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):  # it tells each of its steps
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network, (inputs,), dynamo=True, dynamic_shapes=shapes, input_names=["inputs"], output_names=[output]
        )
    assert program is not None  # it was not asked to write the file itself
    program.model.metadata_props.update(facts or {})
    program.save(path)


class _Deployed(nn.Module):
    """From stored samples to answers."""

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
        outputs: Tensor = self.model(self._preprocessing(stored))
        if self._task == "multilabel":
            return outputs.sigmoid()
        return outputs.softmax(1) if self._task in WITH_CLASSES else outputs


def _difference(path: Path, stored: Tensor, expected: Tensor) -> float:
    """How far the outputs of the file are from the model's, at most."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {"inputs": stored.numpy()})[0]
    return float(np.abs(found - expected.numpy()).max())
