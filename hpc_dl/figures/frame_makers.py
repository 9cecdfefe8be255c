"""What a frame of a model shows: its decision surface, its hidden space, samples, or a text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from hpc_dl.data.ragged import Ragged
from hpc_dl.figures.frames import Frames
from hpc_dl.figures.hidden_plane import hidden_units, no_hidden_plane
from hpc_dl.figures.observations import evenly_spread
from hpc_dl.figures.plane import no_plane, plane
from hpc_dl.figures.subject import Subject
from hpc_dl.nn.token_sampling import draw_tokens

_POINTS = 200
_GRID = 25  # points along each axis of the grid in the hidden space
_SAMPLES = 300
_MOST_UNITS = 256  # of the hidden layer
_PICTURES = 12
_LENGTH = 160  # tokens of a text
_PROMPT = 8
_CONTEXT = 128  # tokens that the model reads for the next one, at most
_TEMPERATURE = 0.8
_MOST_VALUES = 400_000  # of one frame

Maker = Callable[[], Any]


def frame_makers(subject: Subject) -> list[tuple[Frames, Maker]]:
    """Return frames without any content yet, each with what makes one; none for other models."""
    if subject.batches is None or subject.data is None or subject.model is None:
        return []
    if not no_plane(subject) and subject.spec.input_shape == (2,):
        return _of_plane(subject)
    if subject.spec.task == "generation" and hasattr(subject.model, "sample"):
        return _samples(subject)
    if not subject.no_outputs("language_modeling") and subject.spec.input_kind == "tokens" and subject.class_names:
        return _texts(subject)
    return []


def _of_plane(subject: Subject) -> list[tuple[Frames, Maker]]:
    assert subject.batches is not None
    stored: Any = subject.batches.read_batch(subject.split, evenly_spread(subject.spec.sizes[subject.split], _POINTS))
    points, targets = (part.float().numpy() for part in stored)
    grid = plane(points)
    surface = Frames(
        "surface", points=points, targets=targets.reshape(len(targets), -1)[:, 0], extent=grid.extent,
        class_names=subject.class_names if subject.spec.task == "classification" else (),
    )  # fmt: skip
    found: list[tuple[Frames, Maker]] = [(surface, lambda: grid.outputs(subject).numpy().clip(-6e4, 6e4))]
    if not no_hidden_plane(subject):
        inputs = np.concatenate([points, plane(points, _GRID).points])
        if hidden_units(subject, points[:1]).shape[1] <= _MOST_UNITS:
            hidden = replace(surface, kind="hidden", extent=())
            found.append((hidden, lambda: hidden_units(subject, inputs).clip(-6e4, 6e4)))
    return found


def _samples(subject: Subject) -> list[tuple[Frames, Maker]]:
    assert subject.batches is not None
    model: Any = subject.model
    shape = subject.spec.input_shape
    count = _SAMPLES if shape == (2,) else _PICTURES
    if count * int(np.prod(shape)) > _MOST_VALUES:
        return []
    frames = Frames("samples")
    if shape == (2,):
        numbers = evenly_spread(subject.spec.sizes[subject.split], _SAMPLES)
        stored: Any = subject.batches.read_batch(subject.split, numbers)
        frames = replace(frames, points=stored[0].float().numpy(), targets=np.zeros(len(numbers), np.float32))
    return [(frames, lambda: model.sample(count).float().cpu().numpy().clip(-6e4, 6e4))]


def _texts(subject: Subject) -> list[tuple[Frames, Maker]]:
    separator = "" if max(map(len, subject.class_names)) <= 2 else " "
    names = subject.class_names
    x = subject.examples(1).x
    start = (x.values if isinstance(x, Ragged) else x).flatten()[:_PROMPT]

    def text() -> str:
        tokens = _continued(subject.network, start)
        return separator.join(names[token] if token < len(names) else "?" for token in tokens)

    return [(Frames("texts"), text)]


def _continued(network: Any, tokens: torch.Tensor) -> list[int]:
    """Continue a text token by token; the same random numbers in every frame."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for _ in range(_LENGTH):
            logits = network(tokens[None, -_CONTEXT:])[..., -1].float().cpu()
            following = draw_tokens(logits, generator, _TEMPERATURE)[0]
            tokens = torch.cat([tokens, following.to(tokens)])
    return [int(token) for token in tokens]
