"""Compare two runs bit for bit: their training steps, checkpoints, journals and results."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hpc_dl.atomic_files import read_json
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal

_SPEED = "train/samples_per_s"  # only rows of training steps have it
_CLOCK = ("time", _SPEED)  # differs between any two runs
_RESULTS = ("metrics", "steps", "epochs")


@dataclass(frozen=True)
class Difference:
    """One value that two runs do not share.

    Attributes:
        where: the file and the path within it, such as ``last.ckpt/state_dict/head.weight``.
        distance: the largest absolute difference; infinity where no number says it.
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
    """Everything in which the outcomes of two finished runs differ, to the last bit.

    Compared are the contents of the last and the best checkpoint (weights, optimizer, counters,
    random states), every row of the journal without clock times and speeds, and the result.
    """
    import torch

    found: list[Difference] = []
    for name in ("last.ckpt", "best.ckpt"):
        paths = [(folder.checkpoints / name).resolve() for folder in (run, other)]
        if paths[0].name != paths[1].name:
            found.append(Difference(name, detail=f"{paths[0].name} and {paths[1].name}"))
        # Our own files from the runs' own folders: a user's module may keep any object in them.
        contents = [torch.load(path, map_location="cpu", mmap=True, weights_only=False) for path in paths]
        found += value_differences(contents[0], contents[1], name)
    found += value_differences(_journal(run), _journal(other), "journal")
    results = [read_json(folder.result) for folder in (run, other)]
    for key in _RESULTS:
        found += value_differences(results[0][key], results[1][key], f"result.json/{key}")
    return found


def value_differences(value: Any, other: Any, where: str) -> Iterator[Difference]:
    """Where two nested values differ, to the last bit; NaN equals itself.

    Args:
        value: dictionaries, lists and tuples of tensors and plain values.
        other: likewise.
        where: the path of both, for the result.
    """
    import torch

    if isinstance(value, dict) and isinstance(other, dict):
        for key in value.keys() ^ other.keys():
            yield Difference(f"{where}/{key}", detail="is in one only")
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
        if repr(value) != repr(other):  # unlike ==: a NaN equals itself, and 0.0 is not -0.0
            distance = abs(value - other)
            distance = distance if math.isfinite(distance) else math.inf
            yield Difference(where, distance, f"{value!r} and {other!r}")
    elif type(value) is not type(other) or value != other:
        yield Difference(where, detail=f"{value!r:.60} and {other!r:.60}")


def step_differences(run: RunFolder, other: RunFolder) -> dict[str, list[int]]:
    """Training steps that are not in both histories exactly once.

    Returns:
        The steps that are ``lost``, ``added`` or ``repeated``; a kind without steps is left out.
    """
    steps, expected = ([row["step"] for row in step_rows(folder)] for folder in (run, other))
    found = {
        "lost": set(expected) - set(steps),
        "added": set(steps) - set(expected),
        "repeated": {step for step in steps if steps.count(step) > 1},
    }
    return {kind: sorted(which) for kind, which in found.items() if which}


def step_rows(run: RunFolder) -> list[dict[str, Any]]:
    """The journal's rows of training steps as written: a step that was repeated is there twice.

    Of an attempt that was killed, only the rows up to the checkpoint that the next attempt resumed
    from.
    """
    ended = {line["attempt"] for line in attempts.history(run) if line["event"] == "ended"}
    rows: list[dict[str, Any]] = []
    for number, path in enumerate(sorted(run.journal.glob("attempt-*.jsonl"))):
        whole_lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        if not whole_lines:
            continue
        header, *own = map(json.loads, whole_lines)
        if number - 1 not in ended:
            rows = [row for row in rows if row["step"] <= header["from_step"]]
        rows += own
    return [row for row in rows if _SPEED in row]


def _journal(run: RunFolder) -> dict[str, dict[str, Any]]:
    """The rows by step, without what depends on the clock."""
    rows = read_journal(run.journal)
    return {f"step {row['step']}": {key: row[key] for key in row.keys() - set(_CLOCK)} for row in rows}


def _bytes(tensor: Any) -> Any:
    import torch

    return tensor.detach().contiguous().flatten().view(torch.uint8)
