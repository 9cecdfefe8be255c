"""The direction of a metric: whether lower or higher values are better.

The direction of the metrics below is known without importing torch; that of a new one comes from
its class.
"""

from __future__ import annotations

from typing import Literal

Direction = Literal["min", "max"]
Mode = Literal["auto", "min", "max"]

_LOWER = ("loss", "mse", "mae", "error", "bits_per_step", "perplexity", "nll", "distance", "residual", "iterations")
_HIGHER = (
    "accuracy", "f1", "top5", "auroc", "auc", "dice", "dice_foreground", "iou", "iou_foreground", "r2", "exact_match",
    "precision", "recall", "specificity", "score", "modes", "coverage", "quality", "wordsim353", "simlex999",
    "analogies",
)  # fmt: skip


def known_direction(metric: str) -> Direction | None:
    """Return the direction of a metric such as ``val/f1``, or None if its name is not known."""
    return direction_of_name(metric) or _declared_direction(metric.rpartition("/")[2].lower())


def direction_of_name(metric: str) -> Direction | None:
    """Return the direction that the name implies, or None; never imports torch."""
    name = metric.rpartition("/")[2].lower()
    if name.endswith(_LOWER):
        return "min"
    return "max" if name.endswith(_HIGHER) else None


def _declared_direction(name: str) -> Direction | None:
    """Return the direction that the class of a metric declares (``higher_is_better``)."""
    from hpc_dl.learning.metrics import METRICS

    builder = next((metrics[name] for metrics in METRICS.values() if name in metrics), None)
    higher_is_better = None if builder is None else builder(2).higher_is_better
    return None if higher_is_better is None else "max" if higher_is_better else "min"


def direction(metric: str, mode: Mode) -> Direction:
    """Return the direction of a metric: ``mode``, or for ``auto`` the one that its name implies.

    Raises:
        ValueError: ``mode`` is ``auto``, and the metric's name is not known.
    """
    known = known_direction(metric) if mode == "auto" else mode
    if known is None:
        raise ValueError(f"it is not known whether lower or higher {metric} is better: set `mode` to `min` or `max`")
    return known
