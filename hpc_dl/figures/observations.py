"""One pass of a model over a split, bounded in samples, memory and time, for all figures of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hpc_dl.data.ragged import Ragged
from hpc_dl.data.spec import IGNORED
from hpc_dl.learning.supervised import Supervised

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_SAMPLES = 4096
_BYTES = 64 << 20
_PER_BATCH = 64  # at most; fewer where the training's batches are smaller


@dataclass(frozen=True)
class Observations:
    """Outputs of a model, and the targets.

    Attributes:
        samples: (N,) numbers of the samples in the split, ascending.
        outputs: (N, …), or (total steps, …) if samples differ in length; float32 on the CPU.
        targets: (N, …) or (total steps, …).
    """

    samples: NDArray[np.intp]
    outputs: Tensor
    targets: Tensor

    def labeled(self) -> tuple[Tensor, Tensor]:
        """Return logits (n, K) and classes (n,) of all samples or positions that have a class."""
        outputs, targets = self.outputs.movedim(1, -1), self.targets
        known = targets != IGNORED
        return outputs[known], targets[known]

    def probabilities(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the probabilities (n, K) and classes (n,) of what has a class."""
        logits, classes = self.labeled()
        return logits.softmax(1).numpy(), classes.numpy()

    def errors_by_class(self) -> NDArray[np.int64]:
        """Return the confusion matrix, (K, K) counts by true and predicted class."""
        logits, classes = self.labeled()
        size = logits.shape[1]
        pairs = classes * size + logits.argmax(1)
        return torch.bincount(pairs, minlength=size * size).reshape(size, size).numpy()


@dataclass(frozen=True)
class Examples:
    """Some samples, as stored and as the network gets them.

    Attributes:
        stored: (B, …) the inputs in the file's units; a mapping where there are several.
        x: the preprocessed inputs, on the model's device.
        y: the targets, likewise.
    """

    stored: Any
    x: Any
    y: Any


def evenly_spread(size: int, count: int) -> NDArray[np.intp]:
    """The numbers of ``count`` of ``size`` samples, ascending; all of them if there are fewer."""
    return np.unique(np.linspace(0, size - 1, min(size, count)).astype(np.intp))


def observe(subject: Subject) -> Observations:
    """Compute the outputs for samples that are evenly spread over the subject's split.

    Batches are taken in an order that spreads them again, so that a pass that runs out of time has
    seen the whole split.
    """
    assert subject.batches is not None
    samples = evenly_spread(subject.spec.sizes[subject.split], _SAMPLES)
    per_batch = max(1, min(_PER_BATCH, subject.batches.config.batch_size or _PER_BATCH))
    num_batches = -(-len(samples) // per_batch)
    outputs: dict[int, Tensor] = {}
    targets: dict[int, Tensor] = {}
    ends_at, num_bytes = time.monotonic() + subject.seconds, 0
    for number in range(num_batches):
        example = read(subject, samples[number::num_batches])
        with torch.no_grad():
            output = subject.network.outputs_for(example.x, example.y)
        outputs[number] = output.float().cpu()
        y = example.y.values if isinstance(example.y, Ragged) else example.y
        targets[number] = y.cpu()
        num_bytes += outputs[number].numel() * 4 + targets[number].nbytes
        if time.monotonic() > ends_at or num_bytes > _BYTES:
            break
    seen = [samples[number::num_batches] for number in outputs]
    parts = torch.cat(list(outputs.values())), torch.cat(list(targets.values()))
    numbers = np.concatenate(seen)
    if len(parts[0]) != len(numbers):  # steps of ragged samples, whose order does not matter
        return Observations(np.sort(numbers), *parts)
    order = np.argsort(numbers)
    return Observations(numbers[order], parts[0][order], parts[1][order])


def examples(subject: Subject, count: int) -> Examples:
    """Read samples that are evenly spread over the subject's split."""
    return read(subject, evenly_spread(subject.spec.sizes[subject.split], count))


def read(subject: Subject, samples: NDArray[np.intp]) -> Examples:
    """Read samples of the subject's split by their numbers, ascending."""
    batches, model = subject.batches, subject.model
    assert batches is not None and model is not None
    device = next(model.parameters()).device
    stored = batches.read_batch(subject.split, samples)
    dtype = next(model.parameters()).dtype
    batch = batches.preprocessed(model.transfer_batch_to_device(stored, device, 0), lambda x: _converted(x, dtype))
    if isinstance(model, Supervised):
        x, y = model.inputs_and_targets(batch)
        return Examples(model.inputs_and_targets(stored)[0], x, y)
    (x, *_), (stored_x, *_) = (part.values() if isinstance(part, dict) else part for part in (batch, stored))
    return Examples(stored_x, x, None)


def _converted(x: Any, dtype: torch.dtype) -> Any:
    """Inputs in the precision of the weights, which may be half."""
    if isinstance(x, Ragged):
        return Ragged(_converted(x.values, dtype), x.offsets)
    return x.to(dtype) if x.is_floating_point() else x
