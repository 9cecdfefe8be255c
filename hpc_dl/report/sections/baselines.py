"""The comparison with simple models on the same splits, where ``hpc-dl baseline`` was run."""

from __future__ import annotations

from typing import Any

from hpc_dl.formatting import text_of
from hpc_dl.report.blocks import Section, Table, Text
from hpc_dl.report.material import Material


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    name = material.best_run()
    baseline = baseline_of(material, name)
    if not baseline or name is None:
        remedy = "No run was compared with simple models; `hpc-dl baseline CONFIG` fits them on the same splits."
        return Section("baselines", "Simple baselines", [Text(remedy)] if material.best else [])
    metric = text_of(baseline.get("metric"))
    rows = [
        [f"{text_of(baseline.get('name'))} (best simple model)", baseline.get("mean")],
        [f"{name} (this network)", material.metrics(name).get(metric)],
    ]
    return Section("baselines", "Simple baselines", [Table(("model", metric), rows)])


def baseline_of(material: Material, name: str | None) -> dict[str, Any]:
    """Return the best simple model that the result of a run refers to; empty if there is none."""
    baseline = material.result(name).get("baseline") if name else None
    usable = isinstance(baseline, dict) and type(baseline.get("mean")) in (int, float)
    return dict(baseline) if usable and isinstance(baseline, dict) else {}
