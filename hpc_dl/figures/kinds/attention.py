"""How much each step of a sample attends to each other step, for every head of the last layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from hpc_dl.data.ragged import Ragged
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import SEQUENTIAL, label, panels
from hpc_dl.nn.attention import CrossAttention, SelfAttention

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_MOST_HEADS = 4
_MOST_NAMED = 24  # steps whose names fit along an axis


class Attention(FigureKind):
    """A map for each head: the row of a step holds its weights, which add up to 1."""

    def unfit(self, subject: Subject) -> str:
        """Whether the model has attention."""
        if subject.batches is None or subject.model is None:
            return "needs data whose single samples hpc_dl can read"
        return "" if _layer(subject) is not None else "needs a model with attention"

    def draw(self, subject: Subject) -> Figure:
        """Draw up to four heads for the first sample of the split."""
        example = subject.examples(1)
        weights = _weights(subject, example)[0]
        count = min(len(weights), _MOST_HEADS)
        cross = isinstance(_layer(subject), CrossAttention)
        title = "Attention of the output's steps to the input's" if cross else "Self-attention in the last block"
        columns = min(count, 2)
        rows = -(-count // columns)
        figure, axes = panels(f"{title}, a {subject.split_name} sample", rows, columns, height=2.5 * rows + 1)
        tokens = _tokens(subject, example.stored) if not cross else []
        for number, (ax, head) in enumerate(zip(axes, weights[:count], strict=False)):
            image = ax.imshow(head, cmap=SEQUENTIAL, vmin=0)
            ax.grid(False)
            ax.set_title(f"head {number + 1}" if len(weights) > 1 else "")
            ax.set(xlabel="step attended to", ylabel="step")
            if len(tokens) == len(head) <= _MOST_NAMED:
                ax.set_xticks(range(len(tokens)), tokens, rotation=90, fontsize=8)
                ax.set_yticks(range(len(tokens)), tokens, fontsize=8)
            figure.colorbar(image, ax=ax, label="weight")
        return figure


def _layer(subject: Subject) -> SelfAttention | CrossAttention | None:
    assert subject.model is not None
    layers = [module for module in subject.model.modules() if isinstance(module, SelfAttention | CrossAttention)]
    return layers[-1] if layers else None


def _weights(subject: Subject, example: Any) -> np.ndarray[Any, Any]:
    """The weights of a batch, (B, heads, T, S), without padding for a single sample."""
    layer = _layer(subject)
    assert layer is not None
    found: list[torch.Tensor] = []

    def keep(module: torch.nn.Module, arguments: Any, options: Any) -> None:
        weights = layer.weights(*arguments, **options)
        found.append(weights if weights.ndim == 4 else weights[:, None])

    hook = layer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with torch.no_grad():
            subject.network.outputs_for(example.x, example.y)
    finally:
        hook.remove()
    return found[-1].float().cpu().numpy()


def _tokens(subject: Subject, stored: Any) -> list[str]:
    names = subject.class_names
    if subject.spec.input_kind != "tokens" or subject.spec.task != "language_modeling":
        return []
    values = stored.values if isinstance(stored, Ragged) else stored
    return [label(repr(names[int(token)])[1:-1], 8) for token in np.asarray(values).ravel() if int(token) < len(names)]
