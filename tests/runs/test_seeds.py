"""Summaries over seeds."""

import statistics

import pytest

from hpc_dl.learning.intervals import student_t
from hpc_dl.runs.seeds import over_seeds


def test_runs_are_grouped_by_all_settings_but_the_seed() -> None:
    values = [0.7, 0.8, 0.9, 0.1, 0.75]
    settings = [
        {"name": name, "seed": seed, "optimizer.lr": lr, "data.file": file}
        for name, seed, lr, file in [
            ("a", 0, 0.1, "/x/d.h5"), ("b", 1, 0.1, "/x/d.h5"), ("a", 0, 0.2, "/x/d.h5"), ("a", 0, 0.1, "/y/d.h5"),
            ("a", 0, 0.1, "/x/d.h5"),
        ]
    ]  # fmt: skip
    rows = [
        {"run": f"r{n}", **own, "val/f1": value} for n, (own, value) in enumerate(zip(settings, values, strict=True))
    ]
    first, other, third = over_seeds(rows, settings, ["val/f1"])
    assert first["runs"] == ["r4", "r1"] and first["seeds"] == 2, "a repeated seed counts once, with its latest run"
    assert (first["val/f1"], first["val/f1/interval"]) == student_t([0.75, 0.8])
    assert first["val/f1/sd"] == pytest.approx(statistics.stdev([0.75, 0.8]))
    assert (other["runs"], other["val/f1"], other["optimizer.lr"]) == (["r2"], 0.9, 0.2)
    assert third["runs"] == ["r3"] and "val/f1/sd" not in third and "seed" not in third


def test_runs_without_a_metric_are_named_but_not_counted() -> None:
    settings = [{"seed": 0}, {"seed": 1}]
    (group,) = over_seeds([{"run": "a", "seed": 0}, {"run": "b", "seed": 1, "val/loss": "nan"}], settings, ["val/loss"])
    assert group == {"runs": ["a", "b"], "seeds": 0}
