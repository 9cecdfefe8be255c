"""The vectors that a model has learned for words or samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hpc_dl.data.files.data_file import open_data
from hpc_dl.figures.observations import evenly_spread, read

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_SAMPLES = 600
_PER_BATCH = 50
_WORDS = 60


@dataclass(frozen=True)
class Representations:
    """Vectors of words or samples.

    Attributes:
        title: what they are.
        points: (N, F).
        words: (N,) the words; empty for samples.
        classes: (N,) class numbers of the samples, where they have one.
        class_names: names of the classes.
        values: (N,) the values to predict, where there is one for each sample.
    """

    title: str
    points: NDArray[Any]
    words: Sequence[str] = ()
    classes: NDArray[Any] | None = None
    class_names: Sequence[str] = ()
    values: NDArray[Any] | None = None


def no_representations(subject: Subject) -> str:
    """Why the model has no vectors of words or samples; empty if it has."""
    if isinstance(getattr(subject.model, "words", None), nn.Embedding):
        return "" if subject.class_names else "needs the names of the tokens"
    if reason := subject.no_outputs("classification", "multilabel", "regression", "reconstruction"):
        return reason
    layer = last_layer(subject)
    fits = hasattr(subject.model, "encode") or (layer is not None and layer.in_features > 1)
    return "" if fits else "needs a last layer that is dense, with several inputs"


def representations(subject: Subject) -> Representations:
    """Return the vectors of the most frequent words, or of a few hundred samples."""
    model: Any = subject.model
    if isinstance(getattr(model, "words", None), nn.Embedding):
        counts = getattr(model, "counts", None)
        order = torch.arange(len(subject.class_names)) if counts is None else counts.cpu().argsort(descending=True)
        chosen = order[:_WORDS].tolist()
        points = nn.functional.normalize(model.words.weight.detach(), dim=1)[chosen].cpu().numpy()
        return Representations(
            f"Vectors of the {len(chosen)} most frequent words", points, [subject.class_names[i] for i in chosen]
        )
    samples = evenly_spread(subject.spec.sizes[subject.split], _SAMPLES)
    parts = np.array_split(samples, math.ceil(len(samples) / _PER_BATCH))
    found: list[Tensor] = []
    targets: list[Tensor] = []
    for part in parts:
        example = read(subject, part)
        found.append(vectors(subject, example.x).float().cpu())
        if isinstance(example.y, Tensor):
            targets.append(example.y.cpu())
    points = torch.cat(found).flatten(1).numpy()
    what = "Codes" if hasattr(model, "encode") else "Inputs of the last layer"
    title = f"{what}, {points.shape[1]} numbers, of {len(points):,} {subject.split_name} samples"
    if subject.spec.task == "classification":
        return Representations(title, points, (), torch.cat(targets).numpy(), subject.class_names)
    if subject.spec.task == "regression" and subject.spec.num_outputs == 1:
        return Representations(title, points, values=torch.cat(targets).flatten().numpy())
    if (labels := _labels_of_reconstructed(subject, samples)) is not None:
        names = [str(number) for number in range(int(labels.max()) + 1)]
        return Representations(title, points, (), labels, names)
    return Representations(title, points)


def vectors(subject: Subject, x: Any) -> Tensor:
    """The codes of a batch, or what its last dense layer gets."""
    model: Any = subject.model
    with torch.no_grad():
        if hasattr(model, "encode"):
            codes: Tensor = model.encode(x)
            return codes
        captured: list[Tensor] = []
        layer = last_layer(subject)
        assert layer is not None
        hook = layer.register_forward_pre_hook(lambda module, inputs: captured.append(inputs[0]))
        try:
            model(x)
        finally:
            hook.remove()
        return captured[-1]


def last_layer(subject: Subject) -> nn.Linear | None:
    """The dense layer that computes the outputs; ``None`` where there is no such layer."""
    layers = [module for module in subject.network.modules() if isinstance(module, nn.Linear)]
    return layers[-1] if layers and layers[-1].out_features == subject.spec.num_outputs else None


def _labels_of_reconstructed(subject: Subject, samples: NDArray[np.intp]) -> NDArray[Any] | None:
    """The classes of samples that were reconstructed, where the data file has them."""
    if subject.spec.task != "reconstruction" or subject.batches is None:
        return None
    try:
        config = subject.batches.config.model_copy(update={"task": "classification", "targets": "targets"})
        with open_data(subject.spec.file, config).reader(subject.split) as reader:
            labels = np.asarray(reader.read(samples)[-1])
    except Exception:  # the file has no targets, or others than classes: the points have no color then
        return None
    return labels if labels.ndim == 1 and labels.dtype.kind in "iu" else None
