"""Two runs of one experiment: where their histories, their metrics and their weights are not the
same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from hpc_dl.runs import attempts
from hpc_dl.runs.files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal

_SPEED = "train/samples_per_s"  # in the journal's row of each step, when it is told to log all
_CLOCK = ("time", "step", _SPEED)  # what differs between any two runs, or is told anyway


def differences(mine: RunFolder, other: RunFolder) -> dict[str, float]:
    """Metrics and weights of two finished runs that are not bit for bit the same.

    Returns:
        By how much, by name; infinity where no number can say.
    """
    return dict(_different({**_metrics(mine), **_weights(mine)}, {**_metrics(other), **_weights(other)}))


def step_differences(mine: RunFolder, other: RunFolder) -> dict[str, list[int]]:
    """Training steps that are not in both histories exactly once: by ``lost``, ``added`` and ``done
    twice``.
    """
    steps, wanted = ([row["step"] for row in step_rows(run)] for run in (mine, other))
    found = {
        "lost": set(wanted) - set(steps),
        "added": set(steps) - set(wanted),
        "done twice": {step for step in steps if steps.count(step) > 1},
    }
    return {what: sorted(which) for what, which in found.items() if which}


def step_rows(run: RunFolder) -> list[dict[str, Any]]:
    """The journal's rows of training steps as they were written, a step that was done twice twice.

    Of an attempt that was killed, only the rows up to the checkpoint that the next one went on
    from.
    """
    answered = {line["attempt"] for line in attempts.history(run) if line["event"] == "ended"}
    rows: list[dict[str, Any]] = []
    for number, path in enumerate(sorted(run.journal.glob("attempt-*.jsonl"))):
        whole_lines = path.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
        if not whole_lines:
            continue
        header, *own = map(json.loads, whole_lines)
        if number - 1 not in answered:
            rows = [row for row in rows if row["step"] <= header["from_step"]]
        rows += own
    return [row for row in rows if _SPEED in row]


def _metrics(run: RunFolder) -> dict[str, Any]:
    logged = {
        f"{name} at step {row['step']}": value
        for row in read_journal(run.journal)
        for name, value in row.items()
        if name not in _CLOCK
    }
    final = read_json(run.result)["metrics"]
    return logged | {f"final {name}": final[name] for name in final.keys() - {_SPEED}}


def _weights(run: RunFolder) -> dict[str, Any]:
    import torch

    # Our own file, read as when it is gone on from.
    content = torch.load(run.last_checkpoint, map_location="cpu", mmap=True, weights_only=False)
    weights: dict[str, Any] = content["state_dict"]
    return weights


def _different(mine: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, float]]:
    import torch

    for name in sorted(mine.keys() | other.keys()):
        a, b = mine.get(name), other.get(name)
        if not isinstance(a, torch.Tensor) or not isinstance(b, torch.Tensor):
            # repr: bit for bit, and a NaN is a NaN
            if repr(a) != repr(b):
                numbers = isinstance(a, float) and isinstance(b, float)
                yield name, _size(abs(a - b)) if numbers else math.inf  # type: ignore[operator]
        elif a.dtype != b.dtype or a.shape != b.shape:
            yield name, math.inf
        elif not torch.equal(a.flatten().view(torch.uint8), b.flatten().view(torch.uint8)):
            yield name, _size((a.double() - b.double()).abs().max().item())


def _size(distance: float) -> float:
    return math.inf if math.isnan(distance) else distance
