"""Corrections that change what the shipped experiments compute, and which results are older.

The page of the results lists the configurations that they affect, from the dates in zoo.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.page import paragraph, table

_HEAD = ["configuration", "what changed", "corrected", "result of", "result"]


@dataclass(frozen=True)
class Correction:
    """A correction of a method.

    Attributes:
        what: it changes.
        date: of the correction, such as ``2026-11-30``; results of that day are newer.
        architectures: whose trainings it changes.
    """

    what: str
    date: str
    architectures: tuple[str, ...]


# Corrections that affect no shipped experiment are not listed: maxout and APL for each unit (none
# uses them), scaling of each column of an integer table (the columns of dna have the same range).
CORRECTIONS = (
    Correction(
        "initial weights of He or Glorot, by activation",
        "2026-11-30",
        ("autoencoder", "cnn", "dilated", "fcn", "fixed_point", "gan", "graphsage", "inception", "mlp", "one_to_many",
         "resnet", "separable", "unet"),
    ),
    Correction("features of the neighbors in the transition", "2026-11-30", ("fixed_point",)),
)  # fmt: skip


def affected(names: Sequence[str], results: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """Return a row for each affected configuration, those with results from before first.

    Args:
        names: of the configurations, ``<architecture>-<source>``.
        results: by name, with their ``date``.

    Returns:
        Rows of name, corrections, date of the last of them, date of the result and whether that is
        from before or after.
    """
    rows = []
    for name in names:
        of_it = [it for it in CORRECTIONS if name.partition("-")[0] in it.architectures]
        if not of_it:
            continue
        corrected, recorded = max(it.date for it in of_it), results.get(name, {}).get("date", "")
        age = "none" if not recorded else "**before**" if recorded < corrected else "after"
        rows.append([name, "; ".join(it.what for it in of_it), corrected, recorded, age])
    return sorted(rows, key=lambda row: row[-1] == "after")


def section(names: Sequence[str], results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the lines of the page's section about them."""
    return [
        "## Results from before a correction",
        "",
        *paragraph(
            "A corrected method changes the trainings that use it. These configurations are affected; those that were "
            "not trained again since come first: their results are still those of the method before."
        ),
        "",
        *table(_HEAD, affected(names, results), texts=len(_HEAD)),
        "",
    ]
