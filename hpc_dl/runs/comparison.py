"""Compare two runs bit for bit: their training steps, checkpoints, journals and results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal

_SPEED = "train/samples_per_s"  # only rows of training steps have it
_CLOCK = ("time", _SPEED)  # differ between any two runs
_RESULTS = ("metrics", "steps", "epochs")


@dataclass(frozen=True)
class Difference:
    """A value in which two runs differ.

    Attributes:
        where: the file and the path within it, such as ``last.ckpt/state_dict/head.weight``.
        distance: the largest absolute difference; infinity if the values are not comparable.
        detail: both values, shortened; empty for tensors.
    """

    where: str
    distance: float = math.inf
    detail: str = ""

    def __str__(self) -> str:
        if self.detail:
            return f"{self.where}: {self.detail}"
        return self.where if math.isinf(self.distance) else f"{self.where} by {self.distance:.3g}"


def differences(run: RunFolder, other: RunFolder) -> list[Difference]:
    """Return all bitwise differences between the outcomes of two finished runs.

    Compares the last and the best checkpoint (weights, optimizer, counters, random states), the
    result, and every row of the journal except its clock times and speeds.
    """
    import torch

    different: list[Difference] = []
    for name in ("last.ckpt", "best.ckpt"):
        paths = [(folder.checkpoints / name).resolve() for folder in (run, other)]
        if paths[0].name != paths[1].name:
            different.append(Difference(name, detail=f"{paths[0].name} and {paths[1].name}"))
        # weights_only=False: a user's module may store any object, and the files are our own.
        contents = [torch.load(path, map_location="cpu", mmap=True, weights_only=False) for path in paths]
        different += value_differences(contents[0], contents[1], name)
    different += value_differences(_journal(run), _journal(other), "journal")
    results = [read_json(folder.result) for folder in (run, other)]
    for key in _RESULTS:
        different += value_differences(results[0][key], results[1][key], f"result.json/{key}")
    return different


def value_differences(value: Any, other: Any, where: str) -> Iterator[Difference]:
    """Yield the bitwise differences between two nested values; NaN equals itself.

    Args:
        value: dictionaries, lists and tuples of tensors and plain values.
        other: the value to compare with.
        where: the path of both values.
    """
    import torch

    if isinstance(value, dict) and isinstance(other, dict):
        for key in value.keys() ^ other.keys():
            yield Difference(f"{where}/{key}", detail="is in one of them only")
        for key in value.keys() & other.keys():
            yield from value_differences(value[key], other[key], f"{where}/{key}")
    elif isinstance(value, (list, tuple)) and type(value) is type(other):
        if len(value) != len(other):
            yield Difference(where, detail=f"{len(value)} and {len(other)} items")
        for index, pair in enumerate(zip(value, other, strict=False)):
            yield from value_differences(*pair, f"{where}/{index}")
    elif isinstance(value, torch.Tensor) and isinstance(other, torch.Tensor):
        if value.dtype != other.dtype or value.shape != other.shape:
            details = [f"{tensor.dtype} {tuple(tensor.shape)}" for tensor in (value, other)]
            yield Difference(where, detail=" and ".join(details))
        elif not torch.equal(_bytes(value), _bytes(other)):
            distance = (value.double() - other.double()).abs().max().item() if value.numel() else math.inf
            yield Difference(where, math.inf if math.isnan(distance) else distance)
    elif isinstance(value, float) and isinstance(other, float):
        if repr(value) != repr(other):  # unlike ==, NaN equals itself, and 0.0 differs from -0.0
            distance = abs(value - other)
            distance = distance if math.isfinite(distance) else math.inf
            yield Difference(where, distance, f"{value!r} and {other!r}")
    elif type(value) is not type(other) or value != other:
        yield Difference(where, detail=f"{value!r:.60} and {other!r:.60}")


def step_differences(run: RunFolder, other: RunFolder) -> dict[str, list[int]]:
    """Return the training steps that are not exactly once in both journals.

    Returns:
        The ``lost``, ``added`` and ``repeated`` steps of ``run``; kinds without steps are omitted.
    """
    steps, expected = ([row["step"] for row in step_rows(folder)] for folder in (run, other))
    by_kind = {
        "lost": set(expected) - set(steps),
        "added": set(steps) - set(expected),
        "repeated": {step for step in steps if steps.count(step) > 1},
    }
    return {kind: sorted(selected) for kind, selected in by_kind.items() if selected}


def step_rows(run: RunFolder) -> list[dict[str, Any]]:
    """Return the journal's rows of training steps; a repeated step has two rows.

    Rows of a killed attempt count only up to the checkpoint that the next attempt resumed from.
    """
    ended = {line["attempt"] for line in attempts.history(run) if line["event"] == "ended"}
    rows: list[dict[str, Any]] = []
    for number, path in enumerate(sorted(run.journal.glob("attempt-*.jsonl"))):
        complete_lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        if not complete_lines:
            continue
        header, *attempt_rows = map(json.loads, complete_lines)
        if number - 1 not in ended:
            rows = [row for row in rows if row["step"] <= header["from_step"]]
        rows += attempt_rows
    return [row for row in rows if _SPEED in row]


def _journal(run: RunFolder) -> dict[str, dict[str, Any]]:
    """The rows by step, without the values that depend on the clock."""
    rows = read_journal(run.journal)
    return {f"step {row['step']}": {key: row[key] for key in row.keys() - set(_CLOCK)} for row in rows}


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.detach().contiguous().flatten().view(torch.uint8)
