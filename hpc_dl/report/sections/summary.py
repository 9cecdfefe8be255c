"""The answers to what a reader asks first."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from hpc_dl.cluster.goodput import total_of
from hpc_dl.formatting import duration, text_of
from hpc_dl.report.blocks import Answers, Section, Text
from hpc_dl.report.diagnoses import fit_of, sentence_of
from hpc_dl.report.material import Material
from hpc_dl.report.sections.failures import has_pictures, weakest_class
from hpc_dl.report.sections.provenance import command_of
from hpc_dl.sweeps.ranking import comparison, value_of

_UNITS = {"gpu_hours": "GPU h", "cpu_hours": "CPU h", "gpu_kwh": "kWh of the GPUs"}
_ALONE = "There is nothing to compare it with: only one setting has a result."


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    answers = (_best, _difference, _fit, _failures, _cost, _repeat)
    items = [answer(material) for answer in answers]
    return Section("summary", "At a glance", [Text(_states(material)), Answers([item for item in items if item])])


def _states(material: Material) -> str:
    counts = Counter(str(one.facts["state"]) for one in material.known.values())
    states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    runs = f"{len(material.runs)} run{'s' * (len(material.runs) != 1)}"
    settings = f" with {len(material.groups)} different settings" if len(material.groups) > 1 else ""
    return f"{runs}{settings}: {states}."


def _best(material: Material) -> tuple[str, str, str]:
    if not material.compares:
        return "Which run is best?", "They do not compare", "The runs were trained on different data."
    if material.best is None or material.best.rank is None:
        return "Which run is best?", "Not known yet", "No run has finished with a metric whose direction is known."
    rank = material.best.rank
    value = f"{material.objective} {value_of(rank)}"
    if len(material.ranked) == 1:
        return "What was reached?", value, _test_metrics(material)
    return "Which is best?", value, f"{material.best.label}. {_test_metrics(material)}".strip()


def _test_metrics(material: Material) -> str:
    """The test metrics of the run that validation chose: choosing by them would bias them."""
    name = material.best_run()
    metrics = material.metrics(name) if name else {}
    known = [f"{key} {text_of(metrics[key])}" for key in material.metric_names("test") if key in metrics]
    return f"On the test split ({name}): {', '.join(known[:4])}." if known else ""


def _difference(material: Material) -> tuple[str, str, str] | None:
    points = material.ranked
    if len(points) < 2:
        return ("Is the difference real?", "One setting only", _ALONE) if points else None
    sentence = comparison(points[0], points[1])
    short = "Yes" if "do not overlap" in sentence else "Not shown" if "overlap" in sentence else "Not known"
    second = f"Second: {value_of(points[1])} with {material.groups[1].label}."
    return "Is the difference real?", short, f"{sentence} {second}"


def _fit(material: Material) -> tuple[str, str, str] | None:
    fits = Counter(fit for name in material.runs if (fit := fit_of(material.result(name))))
    if not fits:
        return None
    name = material.best_run()
    own = fit_of(material.result(name)) if name else ""
    counts = ", ".join(f"{count} {fit}" for fit, count in fits.most_common())
    if not own:
        return "Did it overfit?", counts, ""
    short = {"good": "No", "overfit": "Yes", "underfit": "No: it underfits"}.get(own, own)
    others = f" All runs: {counts}." if len(material.runs) > 1 else ""
    return "Did it overfit?", short, f"{sentence_of(material.result(name or ''))}{others}"


def _failures(material: Material) -> tuple[str, str, str] | None:
    weakest = weakest_class(material, material.best_run())
    where = "The pictures below show its worst mistakes." if has_pictures(material) else ""
    if weakest:
        return "Where does it fail?", f"Weakest: {weakest}", where
    if where:
        return "Where does it fail?", "Its worst mistakes are shown below", ""
    if (name := material.best_run()) is None or not material.result(name):
        return None
    command = f"hpc-dl figures {shlex.quote(name)} --only mistakes --only confusion"
    return "Where does it fail?", "Not drawn yet", f"`{command}` draws the mistakes of the best run; then report again."


def _cost(material: Material) -> tuple[str, str, str] | None:
    total, used = total_of(material.goodput), [row["cost"] for row in material.efficiency if "cost" in row]
    goodput = f"{total['goodput']:.0%} of the allocated time advanced the training (goodput)." if total else ""
    if used:
        hours = {key: sum(cost.get(key, 0.0) for cost in used) for key in ("gpu_hours", "cpu_hours", "gpu_kwh")}
        parts = [f"{hours[key]:.3g} {unit}" for key, unit in _UNITS.items() if hours[key]]
        return "What did it cost?", ", ".join(parts) or "0 CPU h", goodput
    known = [material.result(name).get("seconds") for name in material.runs]
    seconds = [value for value in known if isinstance(value, int | float)]
    return ("What did it cost?", f"{duration(sum(seconds))} of training", goodput) if seconds else None


def _repeat(material: Material) -> tuple[str, str, str] | None:
    name = material.best_run()
    command: Any = command_of(material.runs[name]) if name else ""
    return (
        ("How do I repeat it?", command, "Provenance, below, has the versions, the commit and the data.")
        if name
        else None
    )
