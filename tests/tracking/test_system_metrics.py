"""The load of each node reaches W&B through rank 0."""

import json
from pathlib import Path

import pytest

from hpc_dl.tracking import system_metrics
from hpc_dl.tracking.system_metrics import NodeMonitor, OtherNodes

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun, wait


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_metrics, "INTERVAL_S", 0.02)


def test_every_node_is_reported(run: ReportedRun, wandb_server: FakeWandb) -> None:
    monitors = [NodeMonitor(run.folder, node) for node in ("node2", "node3")]
    attempt = run.attempt(num_nodes=3)
    attempt.log(1, 10)

    def num_rows(name: str) -> int:
        return sum(name in row for row in wandb_server.events.get(run.id, []))

    names = ["system.cpu", "system.cpu/l:node2", "system.cpu/l:node3"]
    wait(lambda: all(num_rows(name) >= 3 for name in names))
    for monitor in monitors:
        monitor.stop()
    attempt.end()
    run.check(10)
    rows = wandb_server.events[run.id]
    times = [row["_timestamp"] for row in rows if "system.cpu/l:node2" in row]
    assert times == sorted(set(times))
    assert all(row["_runtime"] >= 0 for row in rows)


def test_node_is_not_measured_unless_rank_0_wants_it(tmp_path: Path) -> None:
    monitor = NodeMonitor(tmp_path, "node2")
    monitor._over.wait(0.1)
    assert list(tmp_path.iterdir()) == []
    others = OtherNodes(tmp_path)
    wait(lambda: bool(others.take(0.0)))
    monitor.stop()


def test_old_and_damaged_measurements_are_left_out(tmp_path: Path) -> None:
    others = OtherNodes(tmp_path)
    folder = tmp_path / "wandb" / "nodes"
    contents = {"old": '{"_timestamp": 5, "system.cpu": 1}', "list": "[1]", "null": "null", "cut": '{"_time'}
    contents |= {"text": '{"_timestamp": "x"}', "good": json.dumps({"_timestamp": 9e9, "system.cpu": 1, "": 2})}
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(content)
    assert [set(row) for row in others.take(0.0)] == [{"_wandb", "_timestamp", "_runtime", "system.cpu/l:good"}]
    assert others.take(0.0) == []
