"""``hpc-dl status`` and ``hpc-dl results`` of several runs: columns, order, width."""

import json
import math
import os
import socket
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cli.run_table import sort_order
from hpc_dl.config import yaml
from hpc_dl.errors import HpcDlError
from hpc_dl.runs import attempts
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl

NAME = "a-long-name-of-an-experiment"


def finished(lr: float, accuracy: float, **metrics: float) -> RunFolder:
    run = RunFolder.create(Path("runs"), NAME)
    run.config.write_text(yaml.dumps({"name": NAME, "seed": 0, "optimizer": {"name": "sgd", "lr": lr}}))
    measured = {"val/accuracy": accuracy, "test/accuracy": accuracy - 0.1, "train/loss": 0.3, **metrics}
    write_json(run.result, {"run": run.name, "metrics": measured})
    write_state(run, "finished", step=100)
    return run


@pytest.fixture
def runs(hpc_dl: HpcDl) -> list[RunFolder]:
    """Three runs that differ in one setting."""
    return [finished(0.1, 0.7), finished(0.01, 0.9), finished(1.0, 0.2)]


def first_column(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_table_shows_what_differs_and_validation_only(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    header, first, *_ = hpc_dl("results").out.splitlines()
    assert header.split() == ["run", "state", "optimizer.lr", "val/accuracy"]
    assert first.split() == [runs[0].name, "finished", "0.1", "0.7"]
    header = hpc_dl("results", "--test").out.splitlines()[0]
    assert header.split() == ["run", "state", "optimizer.lr", "val/accuracy", "test/accuracy"]
    assert "optimizer.lr" in hpc_dl("status").out.splitlines()[0]
    header, only = hpc_dl("results", runs[0].name).out.splitlines()
    assert header.split() == ["run", "state", "val/accuracy"] and only.split() == [runs[0].name, "finished", "0.7"]


def test_rows_are_sorted_by_setting_and_by_metric(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    one, two, three = (run.name for run in runs)
    assert first_column(hpc_dl("results", "--sort", "optimizer.lr").out) == [two, one, three]
    assert first_column(hpc_dl("results", "--sort", "val/accuracy").out) == [two, one, three]
    assert first_column(hpc_dl("status", "--sort", "optimizer.lr").out) == [two, one, three]
    listed = hpc_dl("results", "--sort", "optimizer.lr", "--json").json
    assert [row["run"] for row in listed] == [two, one, three]
    answer = hpc_dl("results", "--sort", "optimizer.l")
    assert answer.status == 2 and "Did you mean 'optimizer.lr'?" in answer.err


@pytest.mark.parametrize(
    ("rows", "column", "order"),
    [
        ([{"val/loss": 2.0}, {}, {"val/loss": 1.0}], "val/loss", [2, 0, 1]),
        ([{"val/f1": 0.1}, {"val/f1": 0.2}, {"val/f1": None}], "val/f1", [1, 0, 2]),
        ([{"a": "x"}, {"a": 3}, {"a": [1]}], "a", [1, 2, 0]),
        ([{"val/loss": math.nan}, {"val/loss": 1.0}], "val/loss", [1, 0]),
        ([{"val/f1": math.nan}, {"val/f1": 1.0}, {"val/f1": "inf"}], "val/f1", [1, 2, 0]),
        ([{"run": "b"}, {"run": "a"}], None, [0, 1]),
        ([], "nothing", []),
    ],
)
def test_sort_order(rows: list[dict[str, Any]], column: str | None, order: list[int]) -> None:
    assert sort_order(rows, column) == order
    if rows:
        with pytest.raises(HpcDlError, match="no such column"):
            sort_order(rows, "nosuch")


@pytest.mark.parametrize("columns", [70, 80, 120])
def test_names_are_never_broken(
    hpc_dl: HpcDl, runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    reason = "ValueError: " + "a long reason that does not fit into a column " * 4 + "."
    write_state(runs[1], "failed", reason=reason, rank=1)
    monkeypatch.setenv("COLUMNS", str(columns))
    for command in ("status", "results"):
        text = hpc_dl(command).out
        assert all(run.name in text for run in runs)
        table = [line for line in text.splitlines() if not line.startswith(f"{runs[1].name}: ")]
        assert max(map(len, table)) <= columns
    assert f"\n{runs[1].name}: rank 1: {reason}\n" in hpc_dl("status").out


def test_runs_of_different_experiments_have_a_limited_number_of_columns(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    other = {"name": "other", "seed": 1, "optimizer": {"name": "adam", "lr": 5}}
    sections = {f"section{number}": {"key": number} for number in range(9)}
    runs[0].config.write_text(yaml.dumps({**other, **sections}))
    runs[1].config.write_text(yaml.dumps({**other, **{name: {"key": -1} for name in sections}}))
    text = hpc_dl("status", runs[0].name, runs[1].name).out
    assert "section5.key" in text.splitlines()[0] and "section6.key" not in text.splitlines()[0]
    assert "3 more settings differ: section6.key, section7.key, section8.key" in text


def test_metrics_by_group_of_a_single_run(hpc_dl: HpcDl) -> None:
    run = finished(0.1, 0.7)
    accuracy = {"value": 0.9, "low": 0.5958, "high": 0.9821, "count": 10}
    groups = [
        {"group": "O\x1b[1mslo", "samples": 10, "metrics": {"accuracy": accuracy, "recall": accuracy}},
        {"group": "Bern", "samples": 1, "metrics": {"accuracy": accuracy | {"low": None, "high": None}}},
    ]
    by_group = {"by": "site", "split": "test", "intervals": "Wilson", "positive_class": "ill", "groups": groups}
    write_json(run.result, {"run": run.name, "metrics": {"test/accuracy": 0.9}, "by_group": by_group})
    title, header, oslo, bern = hpc_dl("results", "latest", "--test").out.splitlines()[-4:]
    assert title == "test by site, with 95% intervals (Wilson); positive: ill"
    assert header.split() == ["group", "samples", "accuracy", "recall"]
    assert oslo.split("  ")[0] == r"O\x1b[1mslo" and oslo.count("0.9 (0.596 to 0.982)") == 2
    assert bern.split() == ["Bern", "1", "0.9"]


def test_progress_of_a_running_training(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder.create(Path("runs"), "x")
    run.config.write_text(
        yaml.dumps({"name": "x", "seed": 0, "trainer": {"max_epochs": 4}, "wandb": {"mode": "offline"}})
    )
    job = {"pid": os.getpid(), "process_started": psutil.Process().create_time(), "host": socket.gethostname()}
    write_json(run.job, job | {"submitted": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(time.time() - 90))})
    write_state(run, "running")
    attempts.record(run, "started", attempt=0, from_step=0, steps_per_epoch=10, total_steps=40)
    start = time.time() + 10
    rows = [{"step": step, "epoch": 1, "time": start + step, "train/samples_per_s": 1234.5} for step in (11, 12, 15)]
    header = {"attempt": 0, "from_step": 0, "time": start}
    (run.journal / "attempt-000.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (header, *rows)))
    header_line, line, wandb = hpc_dl("status", "latest").out.splitlines()
    assert (
        "  epoch 2/4 (50%), step 15/40  " in line
        and "  1,234  " in line
        and wandb.startswith("W&B: not uploaded; `hpc-dl sync ")
    )
    assert header_line.split()[-3:] == ["samples/s", "left", "waited"] and line.split()[-1] == "min"
