"""Many runs at once: ended ones come from an index, which is never trusted over their files."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import overview as module
from hpc_dl.cluster.overview import overview
from hpc_dl.config import yaml
from hpc_dl.runs import index
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state

SETTINGS = {"name": "x", "seed": 0, "optimizer": {"lr": 0.1}}


def run_in(folder: Path, state: str = "finished", **settings: object) -> RunFolder:
    run = RunFolder.create(folder, "x")
    run.config.write_text(yaml.dumps(SETTINGS | settings))
    write_json(run.result, {"run": run.name, "metrics": {"val/loss": 0.5}, "seconds": 3.0, "diagnosis": {}})
    write_state(run, state, step=10, reason="ValueError: x")  # type: ignore[arg-type]
    return run


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of runs whose index is written for a single run, however new its files are."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(index, "_FEWEST_NEW", 1)
    monkeypatch.setattr(index, "_SETTLED_NS", -(10**12))
    return tmp_path / "runs"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Callable[[RunFolder], int]:
    """Show a run, check that the index says the same as its files, and count what was read."""
    statuses = module.statuses

    def count(run: RunFolder) -> int:
        counts: list[int] = []
        monkeypatch.setattr(module, "statuses", lambda runs: [counts.append(len(runs)), statuses(runs)][1])
        (shown,) = overview([run])
        assert shown.facts == statuses([run])[0]
        return sum(counts)

    return count


@pytest.mark.parametrize("state", ["finished", "failed", "diverged"])
def test_ended_run_is_read_once(folder: Path, read: Callable[[RunFolder], int], state: str) -> None:
    run = run_in(folder, state, data={"file": "x.h5", "list": [1, {"a": None}]})
    assert [read(run), read(run)] == [1, 0]
    (shown,) = overview([run])
    assert shown.settings["data.list"] == [1, {"a": None}] and shown.settings["optimizer.lr"] == 0.1
    assert shown.result == ({"run": run.name, "seconds": 3.0} if state == "finished" else {})


@pytest.mark.parametrize("file", ["config.yaml", "result.json", "state.json", "layout"])
def test_run_with_a_changed_file_is_read_again(folder: Path, read: Callable[[RunFolder], int], file: str) -> None:
    run = run_in(folder)
    assert [read(run), read(run)] == [1, 0]
    (run.path / file).write_text((run.path / file).read_text() + "\n\n")  # in place, as some editors do
    assert read(run) == 1


def test_run_with_a_new_file_is_read_again(folder: Path, read: Callable[[RunFolder], int]) -> None:
    run = run_in(folder, "failed")
    assert [read(run), read(run)] == [1, 0]
    write_json(run.cancelled, {"by": "anna"})
    assert [read(run), read(run)] == [1, 1], "how to resume it depends on where the command runs"
    assert overview([run])[0].facts["state"] == "cancelled"


@pytest.mark.parametrize("state", ["running", "stopped", "created"])
def test_run_that_may_go_on_is_always_read(folder: Path, read: Callable[[RunFolder], int], state: str) -> None:
    run = run_in(folder, state)
    assert [read(run), read(run)] == [1, 1]


def test_settings_that_json_would_change_are_always_read(folder: Path, read: Callable[[RunFolder], int]) -> None:
    run = run_in(folder, data={"list": [{1: "a"}]})
    assert [read(run), read(run)] == [1, 1]
    assert overview([run])[0].settings["data.list"] == [{1: "a"}]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', "null"])
def test_damaged_index_is_ignored(folder: Path, read: Callable[[RunFolder], int], content: str) -> None:
    run = run_in(folder)
    read(run)
    (file,) = (folder.parent / "cache" / "hpc_dl").iterdir()
    entries = json.loads(file.read_text())
    for damaged in (content, json.dumps(entries | {"runs": {run.name: [entries["runs"][run.name][0], {}, [9]]}})):
        file.write_text(damaged)
        assert read(run) == 1
    assert read(run) == 0, "it is written again"


def test_index_of_a_moved_folder_is_not_used(folder: Path, read: Callable[[RunFolder], int]) -> None:
    run = run_in(folder)
    read(run)
    folder.rename(folder.with_name("moved"))
    moved = RunFolder(folder.with_name("moved") / run.name)
    assert read(moved) == 1 and overview([moved])[0].facts["dir"] == str(moved.path)


def test_without_a_writable_cache_everything_is_read(
    folder: Path, read: Callable[[RunFolder], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    run = run_in(folder)
    assert [read(run), read(run)] == [1, 1]


def test_recent_files_and_few_runs_are_not_indexed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, read: Callable[[RunFolder], int]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = run_in(tmp_path / "runs")
    assert [read(run), read(run)] == [1, 1]
    monkeypatch.setattr(index, "_FEWEST_NEW", 1)
    assert [read(run), read(run)] == [1, 1], "its files are too new"
    assert not (tmp_path / "cache").exists()


def test_runs_that_are_gone_leave_the_index(folder: Path, read: Callable[[RunFolder], int]) -> None:
    gone, run = run_in(folder), run_in(folder)
    overview([gone, run])
    gone.path.rename(folder / "elsewhere")
    (run.path / "new").write_text("")
    read(run)
    (file,) = (folder.parent / "cache" / "hpc_dl").iterdir()
    assert list(json.loads(file.read_text())["runs"]) == [run.name]
