"""What the runs cost, used and wasted: efficiency and goodput."""

from __future__ import annotations

from typing import Any

from hpc_dl.cluster.efficiency import proposal_for_all
from hpc_dl.cluster.goodput import LABELS, total_of
from hpc_dl.formatting import duration
from hpc_dl.report.blocks import Block, Code, Section, Table, Text
from hpc_dl.report.material import Material


def section(material: Material) -> Section:
    """Return the section.

    Args:
        material: the runs.
    """
    used = [row for row in material.efficiency if "used" in row]
    blocks: list[Block] = []
    if total := total_of(material.goodput):
        blocks.append(_goodput(total))
    if used:
        blocks.append(_efficiency(used))
        changes = proposal_for_all(used)
        if changes:
            settings = " ".join(f"resources.{key}={value}" for key, value in changes.items())
            blocks += [Text("What would have sufficed for all of these runs, to request next time:"), Code(settings)]
    return Section("cost", "Cost, efficiency and goodput", blocks)


def _goodput(total: dict[str, Any]) -> Table:
    allocated_s = total["allocated_s"]
    rows = [
        [LABELS[part], duration(seconds), f"{seconds / allocated_s:.1%}" if allocated_s else None]
        for part, seconds in total["parts_s"].items()
        if seconds
    ]
    rows.append(["allocated", duration(allocated_s), "100.0%"])
    starts = f"{total['starts']} start{'s' * (total['starts'] != 1)}"
    return Table(("part", "time", "share"), rows, f"Where the allocated time went ({starts})")


def _efficiency(rows: list[dict[str, Any]]) -> Table:
    cells = []
    for row in rows:
        used, requested, cost = row["used"], row["requested"], row["cost"]
        minutes = used.get("minutes")
        cells.append(
            [
                row["run"],
                f"{_number(used.get('memory_gib'))} of {requested['memory']}",
                f"{_number(used.get('cpus'))} of {requested['cpus_per_gpu']}",
                f"{duration(60 * minutes) if minutes is not None else '?'} of {requested['time']}",
                f"{used['gpu']:.0%}" if "gpu" in used else None,
                cost["gpu_hours"],
                cost["cpu_hours"],
                cost.get("gpu_kwh"),
            ]
        )
    columns = ("run", "memory, GiB", "CPU cores", "time", "GPU", "GPU h", "CPU h", "kWh")
    return Table(columns, cells, "Used and requested", folded=len(rows) > 12)


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}"
