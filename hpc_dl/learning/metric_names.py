"""The names of metrics: which split a metric belongs to, and what it measures.

hpc_dl writes ``val/loss``; users' own modules also log ``val_loss``, ``valid/acc``, ``loss/val``,
``avg_val_loss`` or ``valLoss``. Imports no torch.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

Split = Literal["train", "val", "test"]

_SPLITS: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
_LOADER = re.compile(r"/dataloader_idx_\d+$")
_SEPARATORS = "/_.-: @"


def words(name: str) -> list[str]:
    """The words of a name in lower case: ``val/F1Score`` has val, f, 1 and score."""
    return [match[0].lower() for match in _WORD.finditer(_LOADER.sub("", name))]


@functools.lru_cache(maxsize=4096)
def split_and_metric(name: str) -> tuple[Split | None, str]:
    """Divide a name such as ``val_loss`` into the split and the rest.

    The suffix of a data loader stays: ``val_loss/dataloader_idx_1`` is ``loss/dataloader_idx_1``.

    Returns:
        The split, ``None`` where the name has none, and the name without it.
    """
    loader = _LOADER.search(name)
    bare = name[: loader.start()] if loader else name
    for match in _WORD.finditer(bare):
        if (split := _SPLITS.get(match[0].lower())) is not None and _stands_alone(bare, match):
            before, after = bare[: match.start()].rstrip(_SEPARATORS), bare[match.end() :].lstrip(_SEPARATORS)
            separator = bare[match.end()] if before and match.end() < len(bare) and after != bare[match.end() :] else ""
            rest = f"{before}{separator}{after}" or bare
            return split, rest + (loader[0] if loader else "")
    return None, name


def split_of(name: str) -> Split | None:
    """The split that a metric belongs to; ``None`` where its name has none, as ``g_loss``."""
    return split_and_metric(name)[0]


def without_forks(names: set[str]) -> set[str]:
    """Leave out a name that Lightning also has per step and per epoch (``x_step``, ``x_epoch``)."""
    return {name for name in names if not {f"{name}_step", f"{name}_epoch"} <= names}


def values_of_epochs(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Give a name that Lightning also has per step and per epoch the value of the epoch."""
    forked = [name for name in metrics if {f"{name}_step", f"{name}_epoch"} <= metrics.keys()]
    forks = {f"{name}_{fork}" for name in forked for fork in ("step", "epoch")}
    values = {**metrics, **{name: metrics[f"{name}_epoch"] for name in forked}}
    return {name: value for name, value in values.items() if name not in forks}


def _stands_alone(name: str, match: re.Match[str]) -> bool:
    """Whether a word is delimited: by a separator, an end, or a change of case (``valLoss``)."""
    before, after = name[: match.start()][-1:], name[match.end() :][:1]
    return not (before.isalpha() and match[0].islower()) and not (after.isalpha() and after.islower())
