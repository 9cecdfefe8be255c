"""The plane of two input features as the last layer of a network sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray

from hpc_dl.figures.plane import no_plane
from hpc_dl.figures.representations import last_layer, vectors

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject


def no_hidden_plane(subject: Subject) -> str:
    """Why two features are not mapped to classes by a hidden layer; empty if they are."""
    if reason := subject.no_outputs("classification") or no_plane(subject):
        return reason
    layer = last_layer(subject)
    hidden = layer is not None and layer.in_features > 1 and len(list(subject.network.parameters())) > 2
    return "" if hidden and subject.spec.input_shape == (2,) else "needs two features and a hidden layer"


def hidden_units(subject: Subject, points: NDArray[Any]) -> NDArray[Any]:
    """Map points (N, 2), in the units of the data file, to the inputs (N, F) of the last layer."""
    assert subject.batches is not None
    x = subject.batches.preprocessings[0](torch.from_numpy(points).to(subject.device))
    return vectors(subject, x.to(next(subject.network.parameters()).dtype)).float().cpu().numpy()
