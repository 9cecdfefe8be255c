"""The section of docs/reference/benchmarks.md about preemption."""

from __future__ import annotations

from typing import Any

from benchmarks.page import describe, paragraph, table
from benchmarks.preemption.goodput import KILLS_PER_HOUR, goodput
from hpc_dl.training.stopping.checkpoint_interval import FIRST_AUTO_S, auto_interval_s

BOUND_STEP_S = 0.010  # the duration of a step to which the bound of 1 % refers
#: Descriptions of figures whose name in the JSON file is terse.
DESCRIPTIONS = {
    "Python": "Python itself",
    "data": "opening the data",
    "verifying the checkpoint": "verifying the checkpoint",
    "whether it fits": "preflight: do model, data and trainer fit?",
    "Lightning's setup and the restoring": "Lightning's setup, restoring the state",
    "watchdog: 4 notes": "watchdog: 4 heartbeats",
}


def section(results: dict[str, Any]) -> list[str]:
    """Return the lines of the section."""
    lines = paragraph(
        "The cost of being able to stop a training at any moment, and the time of a stop and a start. All figures are "
        f"medians. {describe(results['machine'])} Other programs share the cores, so CPU time is more reliable than "
        "wall time."
    )
    return [
        *lines,
        "",
        *_steps(results),
        "",
        *_restarts(results["stops"]),
        "",
        *_goodput(results["stops"]),
        "",
        *_checkpoints(results["checkpoints"]),
    ]


def _steps(results: dict[str, Any]) -> list[str]:
    lines = [
        "### Per step",
        "",
        *paragraph(
            f"The same training with Lightning alone and with hpc_dl, {results['long'][0]['pairs']} times in turns, in "
            "one process for each rank. Long steps take about 10 ms, short steps almost nothing. Each figure is the "
            "median over intervals of 50 steps. Other programs disturb the caches; the last two columns therefore "
            "compare the fastest tenth of the intervals. The bound is 1 % of the CPU time of a step of "
            f"{1000 * BOUND_STEP_S:.0f} ms. The additional time does not depend on the length of a step; on a busy "
            "machine long steps vary by more than the bound, so the short steps are the ones to read."
        ),
        "",
    ]
    rows = []
    for name in ("long", "short"):
        for measured in results[name]:
            for kind in ("cpu", "wall"):
                times = measured[kind]
                rows.append(
                    [
                        f"{name} steps, {_ranks(measured)}, {kind.replace('cpu', 'CPU')}",
                        f"{1000 * times['without_s']:.3f}",
                        f"{1000 * times['with_s']:.3f}",
                        f"{1e6 * times['difference_s']:.0f}",
                        f"{1e6 * times['quiet_difference_s']:.0f}",
                        f"{100 * times['quiet_difference_s'] / BOUND_STEP_S:.2f} %",
                    ]
                )
    head = ["", "Lightning, ms", "hpc_dl, ms", "difference, µs", "in the fastest tenth, µs", "of 10 ms"]
    lines += [*table(head, rows), "", "Each part on its own, called in a loop:", ""]
    parts = [measured["parts"] for measured in results["short"]]
    rows = [[DESCRIPTIONS.get(name, name), *[f"{1e6 * part[name]:.1f}" for part in parts]] for name in parts[0]]
    rows += [["together", *[f"{1e6 * sum(part.values()):.1f}" for part in parts]]]
    lines += table(["part", *[f"{_ranks(measured)}, µs" for measured in results["short"]]], rows)
    note = (
        "In this loop the boundary of several ranks waits for their messages; in a training they travel during a step."
    )
    return [*lines, "", *paragraph(note)]


def _restarts(stops: list[dict[str, Any]]) -> list[str]:
    lines = [
        "### Stops and starts",
        "",
        "One rank with steps of about 10 ms, stopped 5 times by SIGUSR2 for each size of the checkpoint.",
        "",
    ]
    head = ["", *[f"{_size(measured['ballast_bytes'])} checkpoint, s" for measured in stops]]
    rows = [["from the signal to the exit", *[f"{measured['stop_s']:.2f}" for measured in stops]]]
    rows += [["the slowest stop", *[f"{measured['slowest_stop_s']:.2f}" for measured in stops]]]
    rows += [["from the start to the end of the first step", *[f"{m['start_s']['together']:.2f}" for m in stops]]]
    for name in stops[0]["start_s"]:
        if name != "together":
            label = DESCRIPTIONS.get(name, name)
            rows.append([f"– {label}", *[f"{measured['start_s'][name]:.3f}" for measured in stops]])
    return [*lines, *table(head, rows)]


def _goodput(stops: list[dict[str, Any]]) -> list[str]:
    lines = [
        f"### Goodput at {KILLS_PER_HOUR} kills an hour",
        "",
        *paragraph(
            "The share of the allocated time that advances the training, without the time in the queue; computed from "
            "the figures above, not measured in one run. Assumed: kills come at random moments; each costs one start; "
            "a kill without a signal destroys half of the interval between two checkpoints; there is no validation, "
            "and no waiting for data. `hpc-dl goodput RUN` measures the same of a real run."
        ),
        "",
    ]
    intervals = [auto_interval_s(it["checkpoint_s"], 3600 / KILLS_PER_HOUR) for it in stops]
    best = " and ".join(f"{interval:.0f} s" for interval in intervals)
    head = ["", *[f"{_size(measured['ballast_bytes'])} checkpoint" for measured in stops]]
    rows = [
        [
            "with a signal ahead (preemption, time limit), `checkpoint.every: auto`",
            *[f"{goodput(m, interval_s=FIRST_AUTO_S, is_warned=True):.1%}" for m in stops],
        ],
        [
            f"SIGKILL, `checkpoint.every: auto`, which is then {best}",
            *[f"{goodput(m, interval_s=i, is_warned=False):.1%}" for m, i in zip(stops, intervals, strict=True)],
        ],
        [
            "SIGKILL, `checkpoint.every: 60 s`",
            *[f"{goodput(m, interval_s=FIRST_AUTO_S, is_warned=False):.1%}" for m in stops],
        ],
    ]
    note = (
        "After its first kill without a signal a run with `auto` saves every √(2 · seconds of a checkpoint · seconds "
        "between its kills) (Young, 1974); before, and after kills with a signal, every 60 s."
    )
    return [*lines, *table(head, rows), "", *paragraph(note)]


def _checkpoints(sizes: list[dict[str, Any]]) -> list[str]:
    head = ["size", "`torch.save`, s", "with fsync, s", "hpc_dl, s", "verifying before a start, s", "share with `auto`"]
    rows = [
        [
            _size(measured["bytes"]),
            *[f"{measured[key]:.3f}" for key in ("torch.save_s", "torch.save, fsync_s", "ours_s", "verify_s")],
            f"{100 * measured['auto_share']:.2f} %",
        ]
        for measured in sizes
    ]
    return ["### Checkpoints", "", *table(head, rows)]


def _ranks(measured: dict[str, Any]) -> str:
    return "1 rank" if measured["ranks"] == 1 else f"{measured['ranks']} ranks"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.0f} MB"
