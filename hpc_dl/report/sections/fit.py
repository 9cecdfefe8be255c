"""The diagnosis of each run: over- or underfitting, gradients, inactive units, advice."""

from __future__ import annotations

from collections import Counter

from hpc_dl.report.blocks import Block, Section, Table, Text
from hpc_dl.report.diagnoses import advice_of, fit_of, losses_of
from hpc_dl.report.material import Material

_MOST_ROWS = 200


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    fits = {name: fit for name in material.runs if (fit := fit_of(material.result(name)))}
    if not fits:
        return Section("fit", "Diagnosis")
    name = material.best_run()
    blocks: list[Block] = [Text(sentence) for sentence in advice_of(material.result(name))] if name else []
    if len(fits) > 1:
        counts = ", ".join(f"{count} {fit}" for fit, count in Counter(fits.values()).most_common())
        rows = []
        for run, fit in list(fits.items())[:_MOST_ROWS]:
            losses = losses_of(material.result(run))
            rows.append([run, fit, losses.get("train"), losses.get("val"), losses.get("constant")])
        columns = ("run", "fit", "training loss", "validation loss", "best constant")
        blocks.append(Table(columns, rows, f"Diagnosis of all runs: {counts}", folded=True))
    return Section("fit", "Diagnosis", blocks)
