"""The results: by settings over the seeds, and of each run."""

from __future__ import annotations

from hpc_dl.formatting import text_of
from hpc_dl.learning.intervals import with_interval
from hpc_dl.report.blocks import Block, Section, Table, Text
from hpc_dl.report.diagnoses import fit_of
from hpc_dl.report.material import Material
from hpc_dl.runs.seeds import interval_column

_MOST_METRICS = 8
_MOST_ROWS = 12  # that are shown at once below a table by settings
_MOST_KEYS = 8


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    metrics = _first(material.metric_names("val"), material.objective)[:_MOST_METRICS]
    blocks: list[Block] = []
    if len(material.groups) < len(material.runs):
        blocks.append(_by_settings(material, metrics))
    if len(material.runs) == 1 and not metrics:
        metrics = material.metric_names("train") + material.metric_names("test")
    blocks.append(_by_run(material, metrics, folded=bool(blocks) and len(material.runs) > _MOST_ROWS))
    unreadable = [
        f"{name}: {one.facts.get('reason', '')}" for name, one in material.known.items() if _has_reason(one.facts)
    ]
    blocks += [Text(line) for line in unreadable[:20]]
    if len(material.runs) > 1:
        blocks.append(
            Text("Test metrics are shown of the best run only (at a glance): choosing by them would bias them.")
        )
    return Section("results", "Results", blocks)


def _by_settings(material: Material, metrics: list[str]) -> Table:
    """A row for each setting, with the means over the seeds."""
    rows = {row["runs"][0]: row for row in material.over_seeds(metrics)}
    keys = [key for key in material.keys if key != "seed"][:_MOST_KEYS]
    cells = []
    for place, group in enumerate(material.groups, start=1):
        row = next((rows[name] for name in group.runs if name in rows), {})
        values = [with_interval(row[name], row.get(interval_column(name))) if name in row else None for name in metrics]
        settings = [_cell(row.get(key)) for key in keys]
        cells.append([place if group.rank else None, *values[:1], *settings, *values[1:], row.get("seeds")])
    caption = "By settings: mean over the seeds ± half the 95% interval (Student's t)"
    best = 0 if material.best is not None and len(material.groups) > 1 else None
    return Table(("place", *metrics[:1], *keys, *metrics[1:], "seeds"), cells, caption, best=best)


def _by_run(material: Material, metrics: list[str], *, folded: bool) -> Table:
    order = [name for group in material.groups for name in group.runs]
    keys = material.keys[:_MOST_KEYS]
    cells = []
    for name in order:
        facts, result, values = material.known[name].facts, material.result(name), material.metrics(name)
        settings = [_cell(material.settings[name].get(key)) for key in keys]
        measured = [_cell(values.get(metric)) for metric in metrics]
        end = [fit_of(result) or None, _cell(result.get("seconds"))]
        cells.append([name, facts["state"], *measured[:1], *settings, *measured[1:], *end])
    best = order.index(chosen) if (chosen := material.best_run()) in order and len(order) > 1 else None
    columns = ("run", "state", *metrics[:1], *keys, *metrics[1:], "fit", "seconds")
    return Table(columns, cells, "By run", best=best, folded=folded)


def _cell(value: object) -> object:
    return value if type(value) in (int, float) else None if value is None else text_of(value)


def _first(names: list[str], name: str) -> list[str]:
    return [name, *[other for other in names if other != name]] if name in names else names


def _has_reason(facts: dict[str, object]) -> bool:
    return facts["state"] in ("unreadable", "failed", "diverged", "lost") and bool(facts.get("reason"))
