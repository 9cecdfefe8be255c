"""The table of metrics by group (``data.group``) in ``hpc-dl results`` and ``hpc-dl evaluate``."""

from __future__ import annotations

from typing import Any

_MOST_METRICS = 12  # columns; many classes have many more, which are in --json


def group_table(by_group: dict[str, Any]) -> None:
    """Print one row for each group.

    Args:
        by_group: as :func:`hpc_dl.training.metrics_by_group.metrics_by_group` returns it.
    """
    from hpc_dl.cli.output import table

    groups = by_group["groups"]
    names = list(dict.fromkeys(name for group in groups for name in group["metrics"]))[:_MOST_METRICS]
    rows = [
        [group["group"], group["samples"], *[_cell(group["metrics"].get(name)) for name in names]] for group in groups
    ]
    positive = f"; positive: {by_group['positive_class']}" if "positive_class" in by_group else ""
    title = f"{by_group['split']} by {by_group['by']}, with 95% intervals ({by_group['intervals']}){positive}"
    table(["group", "samples", *names], rows, title=title)


def _cell(metric: dict[str, Any] | None) -> str:
    """``0.9 (0.85 to 0.94)``; empty where a group has no sample to compute the metric from."""
    if metric is None:
        return ""
    if metric["low"] is None:  # one value only
        return f"{metric['value']:.3g}"
    return f"{metric['value']:.3g} ({metric['low']:.3g} to {metric['high']:.3g})"
