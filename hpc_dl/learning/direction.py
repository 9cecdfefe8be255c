"""Whether less or more of a metric is better, by its name; free of torch."""

from __future__ import annotations

from typing import Literal

Direction = Literal["min", "max"]
Mode = Literal["auto", "min", "max"]

_LESS = ("loss", "mse", "mae", "error", "bits_per_step", "perplexity", "nll", "distance", "residual", "iterations")
_MORE = (
    "accuracy", "f1", "top5", "auroc", "auc", "dice", "dice_foreground", "iou", "iou_foreground", "r2", "exact_match",
    "precision", "recall", "specificity", "score", "modes", "coverage", "quality", "wordsim353", "simlex999",
    "analogies",
)  # fmt: skip


def known_direction(metric: str) -> Direction | None:
    """The direction of a metric such as ``val/balanced_accuracy``; None where its name does not
    tell.
    """
    name = metric.rpartition("/")[2].lower()
    if name.endswith(_LESS):
        return "min"
    return "max" if name.endswith(_MORE) else None


def direction(metric: str, mode: Mode) -> Direction:
    """What ``mode`` means for a metric.

    Raises:
        ValueError: ``auto``, and the metric's name does not tell.
    """
    found = known_direction(metric) if mode == "auto" else mode
    if found is None:
        raise ValueError(
            f"whether less or more of {metric} is better, its name does not tell: set `mode: min` or `max`"
        )
    return found
