"""How the settings act on the objective: parallel coordinates, importance, and a slice for each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from hpc_dl.config import yaml
from hpc_dl.errors import HpcDlError
from hpc_dl.formatting import text_of
from hpc_dl.learning.direction import direction_of_name
from hpc_dl.report.blocks import Block, Plot, Section, Table, Text
from hpc_dl.report.material import Material
from hpc_dl.schema import parse
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.importance import LEAST_POINTS, importance

_MOST_AXES = 8
_MOST_SLICES = 6
_WIDE_RANGE = 8  # from the smallest to the largest value, from which on an axis is logarithmic

Point = tuple[str, Mapping[str, Any], float]
"""The name of a finished run, its settings, and its objective."""


def section(material: Material) -> Section:
    """Return the section; empty unless at least two settings have a result.

    Args:
        material: the runs.
    """
    points = [
        (run, material.settings[run], value)
        for rank in material.ranked
        for run, value in zip(rank.runs, rank.values, strict=True)
        if run in material.settings
    ]
    keys = [key for key in material.keys if key != "seed"]
    if len(material.ranked) < 2 or not keys:
        return Section("settings", "Settings and result")
    blocks: list[Block] = [_parallel(material, points, keys[:_MOST_AXES]), *_importance(material)]
    blocks += [_slice(material.objective, points, key) for key in keys[:_MOST_SLICES]]
    return Section("settings", "Settings and result", blocks)


def _parallel(material: Material, points: Sequence[Point], keys: Sequence[str]) -> Plot:
    axes = [_axis(key, [settings.get(key) for _, settings, _ in points]) for key in keys]
    axes.append({"name": material.objective, "log": False})
    rows = [
        {"name": run, "value": [*[_place(settings.get(axis["name"]), axis) for axis in axes[:-1]], value]}
        for run, settings, value in points
    ]
    values = [value for *_, value in points]
    data = {
        "axes": axes,
        "rows": rows,
        "range": [min(values), max(values)],
        "lower": direction_of_name(material.objective) != "max",
    }
    better = "lowest" if data["lower"] else "highest"
    description = (
        f"Each line is a run, through its settings to its {material.objective}; the {better} values are best. "
        "Drag along an axis to select runs."
    )
    cells = [[run, *[_cell(settings.get(key)) for key in keys], value] for run, settings, value in points]
    table = Table(("run", *keys, material.objective), cells, best=0, folded=True)
    return Plot("parallel", "All settings at once", description, data, table)


def _importance(material: Material) -> list[Block]:
    """The share of each parameter, as ``hpc-dl best`` shows it."""
    if material.sweep is None:
        return []
    shares: dict[str, float] = {}
    with suppress(HpcDlError, OSError):
        raw = yaml.load(material.sweep.config)
        shares = importance(parse(SweepConfig, raw.pop("sweep", None), "sweep"), material.ranked)
    if not shares:
        few = len(material.ranked) < LEAST_POINTS
        reason = f"fewer than {LEAST_POINTS} settings have a result" if few else "it needs Optuna (hpc_dl[sweep])"
        return [Text(f"The importance of the parameters is not known: {reason}.")]
    caption = f"Importance of the parameters (PED-ANOVA, {len(material.ranked)} settings)"
    return [Table(("parameter", "share"), [[key, f"{share:.0%}"] for key, share in shares.items()], caption)]


def _slice(objective: str, points: Sequence[Point], key: str) -> Plot:
    axis = _axis(key, [settings.get(key) for _, settings, _ in points])
    data = {
        "x": axis,
        "y": objective,
        "points": [[_place(settings.get(key), axis), value, run] for run, settings, value in points],
    }
    values: dict[str, list[float]] = {}
    for _, settings, value in points:
        values.setdefault(text_of(settings.get(key)), []).append(value)
    rows = [[setting, len(each), min(each), max(each)] for setting, each in values.items()]
    description = f"{objective} of every run by {key}; all other settings vary, too."
    return Plot("slice", key, description, data, Table((key, "runs", "lowest", "highest"), rows, folded=True))


def _axis(key: str, values: Sequence[Any]) -> dict[str, Any]:
    """An axis of numbers, or of values in their order if one is no number or there are few."""
    numbers = [value for value in values if type(value) in (int, float)]
    if len(numbers) == len(values) and len(set(values)) > 1:
        log = min(numbers) > 0 and max(numbers) >= _WIDE_RANGE * min(numbers)
        return {"name": key, "log": log}
    return {"name": key, "log": False, "values": list(dict.fromkeys(map(_text, values)))}


def _place(value: Any, axis: Mapping[str, Any]) -> Any:
    return _text(value) if "values" in axis else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _cell(value: Any) -> Any:
    return value if type(value) in (int, float) else None if value is None else text_of(value)
