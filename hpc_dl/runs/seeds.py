"""Runs that differ in nothing but the seed, summarized: mean, standard deviation and interval."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from hpc_dl.learning.intervals import student_t
from hpc_dl.runs.conditions import is_number
from hpc_dl.runs.settings import is_irrelevant


def sd_column(metric: str) -> str:
    """The column with the standard deviation of a metric."""
    return f"{metric}/sd"


def interval_column(metric: str) -> str:
    """The column with half the width of the interval of a metric's mean."""
    return f"{metric}/interval"


def over_seeds(
    rows: Sequence[Mapping[str, Any]], settings: Sequence[Mapping[str, Any]], metrics: Sequence[str]
) -> list[dict[str, Any]]:
    """Return one row for each group of runs whose settings are the same up to the seed.

    The same seed trains to the same result, so a repeated one counts once, with its latest run.

    Args:
        rows: values by column for each run, oldest first.
        settings: the complete settings of each run.
        metrics: the columns to summarize.

    Returns:
        Rows with the settings, ``runs`` (names), ``seeds`` (how many), and for each metric its
        mean, ``METRIC/sd`` and ``METRIC/interval`` (half the width of the 95% interval, Student's
        t); the last two only with several seeds.
    """
    return [
        _summary([rows[number] for number in group], settings[group[0]], metrics) for group in same_but_seed(settings)
    ]


def same_but_seed(settings: Sequence[Mapping[str, Any]]) -> list[list[int]]:
    """Return the numbers of the runs, grouped by their settings up to the seed.

    Args:
        settings: the complete settings of each run.
    """
    groups: dict[str, list[int]] = {}
    for number, values in enumerate(settings):
        relevant = {key: value for key, value in values.items() if key != "seed" and not is_irrelevant(key)}
        groups.setdefault(json.dumps(relevant, sort_keys=True, default=str), []).append(number)
    return list(groups.values())


def _summary(rows: list[Mapping[str, Any]], settings: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    measured = {row.get("seed"): row for row in rows if any(is_number(row.get(name)) for name in metrics)}
    summary: dict[str, Any] = {key: value for key, value in settings.items() if key != "seed"}
    summary |= {"runs": [row["run"] for row in measured.values() or rows], "seeds": len(measured)}
    for name in metrics:
        values = [float(row[name]) for row in measured.values() if is_number(row.get(name))]
        if values:
            mean, half_width = student_t(values)
            summary[name] = mean
            if len(values) > 1:
                summary |= {sd_column(name): statistics.stdev(values), interval_column(name): half_width}
    return summary
