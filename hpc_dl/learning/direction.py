"""The direction of a metric: whether lower or higher values are better.

The direction of the metrics below is known without importing torch; that of a new one comes from
its class.
"""

from __future__ import annotations

from typing import Literal

from hpc_dl.learning.metric_names import split_and_metric, words

Direction = Literal["min", "max"]
Mode = Literal["auto", "min", "max"]

_LOWER = ("loss", "mse", "mae", "error", "bits_per_step", "perplexity", "nll", "distance", "residual", "iterations")
_HIGHER = (
    "accuracy", "f1", "f1_macro", "f1_micro", "f1_weighted", "auroc", "auc", "dice", "dice_foreground", "iou",
    "iou_foreground", "r2", "exact_match", "precision", "recall", "specificity", "score", "modes", "coverage",
    "quality", "wordsim353", "simlex999", "analogies",
)  # fmt: skip
# Words of names in users' own modules; the last known word of a name decides.
_WORDS: dict[str, Direction] = {
    **dict.fromkeys(_LOWER, "min"),
    **dict.fromkeys(
        ("rmse", "mape", "smape", "err", "errors", "wer", "cer", "ter", "ppl", "bpb", "bpc", "bpd", "kl", "kld", "fid",
         "ece", "brier", "bce", "ce", "crossentropy", "entropy", "divergence", "losses", "hausdorff"), "min"),
    **dict.fromkeys(_HIGHER, "max"),
    **dict.fromkeys(
        ("acc", "f", "top", "map", "ap", "bleu", "rouge", "meteor", "psnr", "ssim", "kappa", "mcc", "matthews",
         "jaccard", "prec", "rec", "sensitivity", "auprc", "ndcg", "mrr", "correlation", "pearson", "spearman",
         "similarity", "elbo", "reward", "return", "hits", "miou", "em"), "max"),
}  # fmt: skip


def known_direction(metric: str) -> Direction | None:
    """Return the direction of a metric such as ``val/f1``, or None if its name is not known."""
    return direction_of_name(metric) or _declared_direction(metric.rpartition("/")[2].lower())


def direction_of_name(metric: str) -> Direction | None:
    """Return the direction that the name implies, or None; never imports torch."""
    rest = split_and_metric(metric)[1]
    name = rest.rpartition("/")[2].lower()
    if name.endswith(_LOWER):
        return "min"
    if name.endswith(_HIGHER):
        return "max"
    known = [_WORDS[word] for word in words(rest) if word in _WORDS]
    return known[-1] if known else None


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
