"""Images or slices of volumes overlaid with true and predicted classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hpc_dl.data.spec import IGNORED
from hpc_dl.figures.inputs import as_image
from hpc_dl.figures.kind import FigureKind
from hpc_dl.figures.style import class_colors, class_legend, panels

if TYPE_CHECKING:
    from hpc_dl.figures.subject import Subject

_COUNT = 3
_OPACITY = 0.55
_CAPTION = 0.25  # inches below each row


class Segmentation(FigureKind):
    """Three samples, each with input, truth and prediction; class 0 is transparent."""

    at_end = 2

    def unfit(self, subject: Subject) -> str:
        """Whether each pixel or voxel has a class."""
        return subject.no_outputs("segmentation")

    def draw(self, subject: Subject) -> Figure:
        """Draw the samples; of a volume, the slice with the most pixels that are not class 0."""
        examples = subject.examples(_COUNT)
        with torch.no_grad():
            predicted = subject.network(examples.x).argmax(1).cpu().numpy()
        true, images = examples.y.cpu().numpy(), np.asarray(examples.stored, dtype=np.float32)
        names = subject.class_names
        shown = [slice_with_most_labels(*sample) for sample in zip(images, true, predicted, strict=True)]
        height, width = shown[0][1].shape
        row_height = _CAPTION + min(max(1.65 * height / width, 0.4), 3)
        figure, axes = panels(
            f"Segmentation, {subject.split_name}", len(true), 3, height=row_height * len(true) + 0.7, images=True
        )
        present: set[int] = set()
        for row, (image, *masks) in enumerate(shown):
            gray = as_image(image, float(image.min()), float(image.max()))
            known = masks[0] != IGNORED
            share = float((masks[0] == masks[1])[known].mean()) if known.any() else float("nan")
            for ax, mask in zip(axes[3 * row :], [None, *masks], strict=False):
                ax.imshow(gray, cmap="gray", vmin=0, vmax=1)
                if mask is not None:
                    _overlay(ax, mask, len(names))
                    present |= set(np.unique(mask)) - {IGNORED}
            axes[3 * row + 2].set_xlabel(f"{share:.1%} of the pixels correct", fontsize=9)
        for ax, title in zip(axes, ("input", "true classes", "predicted classes"), strict=False):
            ax.set_title(title)
        class_legend(
            axes[-3], names, sorted(map(int, present - {0})), ncols=3, loc="upper left", bbox_to_anchor=(0, -0.03)
        )
        return figure


def _overlay(ax: Axes, mask: NDArray[Any], num_classes: int) -> None:
    colors = np.concatenate([class_colors(num_classes), np.zeros((1, 4))])  # the last one: no class
    colors[:, 3] = _OPACITY
    colors[[0, -1], 3] = 0
    ax.imshow(colors[np.where(mask == IGNORED, num_classes, mask)])


def slice_with_most_labels(
    image: NDArray[Any], true: NDArray[Any], predicted: NDArray[Any]
) -> tuple[NDArray[Any], ...]:
    """Of a volume (C, D, H, W) the slice, across its shortest axis, with the most labels but 0."""
    if image.ndim == 3:
        return image, true, predicted
    axis = int(np.argmin(true.shape))
    best = int((np.moveaxis(true, axis, 0) > 0).sum((1, 2)).argmax())
    return image.take(best, axis + 1), true.take(best, axis), predicted.take(best, axis)
