"""What the convolutions make of one sample, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from hpc_dl.figures.inputs import show_sample
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import label, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_LAYERS = 4
_MAPS = 6


class FeatureMaps(FigureKind):
    """The first feature maps of up to four convolutions, evenly spread from first to last."""

    def unfit(self, subject: Subject) -> str:
        """Whether there are convolutions."""
        if reason := subject.no_outputs():
            return reason
        return "" if _layers(subject) else "needs a model with convolutions"

    def draw(self, subject: Subject) -> Figure:
        """Draw the input and the maps of a row for each layer; each map has its own range."""
        example = subject.examples(1)
        layers, maps = _layers(subject), {}
        for name, layer in layers.items():
            maps[name] = _outputs_of(layer, subject, example.x)
        title = f"Feature maps of a {subject.split_name} sample"
        figure, axes = panels(title, len(layers), _MAPS + 1, height=1.15 * len(layers) + 0.6, images=True)
        show_sample(axes[0], example.stored[0])
        axes[0].set_title("input", fontsize=9)
        for row, (name, output) in enumerate(maps.items()):
            size = " × ".join(map(str, output.shape[1:]))
            axes[row * (_MAPS + 1) + 1].set_title(
                f"{label(name, 24)}: {len(output)} maps of {size}", fontsize=9, loc="left"
            )
            for ax, values in zip(axes[row * (_MAPS + 1) + 1 : (row + 1) * (_MAPS + 1)], output, strict=False):
                show_sample(ax, values[None])
        return figure


def _layers(subject: Subject) -> dict[str, nn.Module]:
    convolutions = [
        (name, module)
        for name, module in subject.network.named_modules()
        if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and max(module.kernel_size) > 1
    ]
    last = len(convolutions) - 1
    chosen = sorted({round(number * last / max(1, _LAYERS - 1)) for number in range(_LAYERS)}) if convolutions else []
    return dict(convolutions[number] for number in chosen)


def _outputs_of(layer: nn.Module, subject: Subject, x: Tensor) -> Tensor:
    """The outputs of a layer for the first sample of a batch, (maps, *size)."""
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda module, inputs, output: found.append(output))
    try:
        with torch.no_grad():
            subject.network(x)
    finally:
        hook.remove()
    return found[0][0].float().cpu()
