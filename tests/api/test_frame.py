"""Runs as a table, and finding runs from Python."""

import math
import sys
from pathlib import Path

import pytest

from hpc_dl import HpcDlError, Runs
from hpc_dl.atomic_files import write_json
from hpc_dl.config import yaml
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from hpc_dl.sweeps.folder import SweepFolder


def finished(runs: Path, lr: float, loss: float | str) -> RunFolder:
    run = RunFolder.create(runs, "net")
    run.config.write_text(yaml.dumps({"name": "net", "seed": 0, "optimizer": {"name": "sgd", "lr": lr}}))
    write_json(run.result, {"run": run.name, "metrics": {"val/loss": loss, "test/loss": 0.7}})
    write_state(run, "finished", step=100)
    return run


def test_frame_has_settings_and_metrics_and_test_metrics_on_request(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    first, second = finished(tmp_path, 0.1, 0.5), finished(tmp_path, 0.01, "nan")
    waiting = RunFolder.create(tmp_path, "net")
    frame = Runs(tmp_path).frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame.columns) == ["run", "state", "optimizer.lr", "val/loss"]
    assert list(frame["run"]) == [first.name, second.name, waiting.name]
    assert list(frame["state"]) == ["finished", "finished", "created"]
    assert list(frame["optimizer.lr"][:2]) == [0.1, 0.01]
    assert frame["val/loss"][0] == 0.5 and math.isnan(frame["val/loss"][1])
    assert "test/loss" in Runs(tmp_path).frame(test=True)


def test_frame_of_no_runs(tmp_path: Path) -> None:
    assert list(Runs(tmp_path / "none").frame().columns) == ["run", "state"]


def test_frame_names_the_extra_where_there_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)  # as if not installed
    with pytest.raises(HpcDlError, match=r"needs pandas or polars. Install one with `pip install 'hpc_dl\[pandas\]'"):
        Runs(tmp_path).frame()


def test_wait_raises_the_reason_of_a_failure(tmp_path: Path) -> None:
    write_state(RunFolder.create(tmp_path, "net"), "diverged", reason="the loss is NaN at step 7")
    with pytest.raises(HpcDlError, match=r"ended without a result \(diverged\): the loss is NaN at step 7"):
        Runs(tmp_path)["latest"].wait()


def test_runs_are_found_by_name(tmp_path: Path) -> None:
    first, second = finished(tmp_path, 0.1, 0.5), finished(tmp_path, 0.01, 0.4)
    runs = Runs(tmp_path)
    assert [run.name for run in runs] == [first.name, second.name] and len(runs) == 2
    assert runs["latest"].folder == second
    assert runs[first.name].metrics() == {"val/loss": 0.5, "test/loss": 0.7}
    with pytest.raises(HpcDlError, match="matches 2 runs"):
        runs["net"]
    with pytest.raises(HpcDlError, match=r"is not a sweep in .*there are none"):
        runs.sweep("net-sweep")


def test_sweep_without_members_resumes_none(tmp_path: Path) -> None:
    folder = SweepFolder.of(tmp_path, "net")
    folder.path.mkdir()
    folder.config.write_text("name: net\n")
    folder.write_members({})
    assert Runs(tmp_path).sweep("net-sweep").resume() == []
