"""The run folder: created, found by name, its layout version and its state."""

import os
import re
from pathlib import Path

import pytest

from hpc_dl.errors import RunError
from hpc_dl.runs.folder import LAYOUT_VERSION, RunFolder
from hpc_dl.runs.search import all_runs, find
from hpc_dl.runs.state import read_state, write_state


def make(runs: Path, name: str, time: int = 0) -> RunFolder:
    run = RunFolder(runs / name)
    run.path.mkdir(parents=True)
    run.config.write_text("name: x\n")
    run.layout.write_text(f"{LAYOUT_VERSION}\n")
    os.utime(run.config, (time, time))
    return run


def test_created_folder_is_absolute_and_unique(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (RunFolder.create(Path("runs/deep"), "cnn-digits") for _ in range(2))
    assert first.path != second.path
    for run in (first, second):
        assert run.path.parent == tmp_path / "runs" / "deep"
        assert re.fullmatch(r"cnn-digits-[23456789bcdfghjkmnpqrstvwxz]{3}", run.name)
        assert {path.name for path in run.path.iterdir()} == {"layout", "journal", "checkpoints", "logs", "submitit"}
    assert read_state(first) == {"state": "created"}


def test_names_become_longer_where_the_short_ones_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hpc_dl.runs.folder.NAME_CODE", "k")
    assert [RunFolder.create(tmp_path, "a").name for _ in range(3)] == ["a-kkk", "a-kkkk", "a-kkkkk"]


def test_paths_are_distinct_and_in_the_folder(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a")
    paths = [getattr(run, key) for key, value in vars(RunFolder).items() if isinstance(value, property)]
    paths = [path for path in paths if isinstance(path, Path)] + [run.log(0), run.log(3)]
    assert len(paths) == len(set(paths)) > 12
    assert all(path.is_relative_to(run.path) and path != run.path for path in paths)


def test_create_reports_an_unusable_runs_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RunError) as caught:
        RunFolder.create(file, "a")
    assert str(caught.value) == (
        f"{file}: a run folder cannot be created here: Not a directory. Choose another folder with --runs DIR"
    )


def test_find_by_name_beginning_path_or_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    old, new, longer = make(runs, "a-1", 30), make(runs, "b-1", 10), make(runs, "a-12", 20)
    (runs / "no-run").mkdir()
    (runs / "file").write_text("")
    assert [run.name for run in all_runs(runs)] == ["b-1", "a-12", "a-1"], "oldest first"
    assert find("latest", runs) == old
    assert find("b", runs) == new
    assert find("a-1", runs) == old, "an exact name takes precedence over a longer one"
    assert find("a-12", runs) == longer
    assert find(str(runs / "b-1"), tmp_path / "elsewhere") == new
    monkeypatch.chdir(runs)
    assert find("./b-1", tmp_path / "elsewhere") == new
    assert find("b-1", tmp_path / "elsewhere").path == runs / "b-1", "absolute, so that it stays valid after chdir"


def test_find_reports_ambiguous_and_unknown_names(tmp_path: Path) -> None:
    for number in range(7):
        make(tmp_path, f"cnn-{number}", number)
    with pytest.raises(RunError) as caught:
        find("cnn", tmp_path)
    assert str(caught.value) == (
        "cnn: matches 7 runs (allowed: cnn-6, cnn-5, cnn-4, cnn-3, cnn-2 and 2 more). Type more of the name, or "
        "`latest`"
    )
    allowed = "(allowed: a run's name, the beginning of one, its folder, or 'latest')"
    with pytest.raises(RunError) as caught:
        find("cmn-3", tmp_path)
    assert str(caught.value) == f"cmn-3: no such run in {tmp_path} {allowed}. Did you mean 'cnn-3'?"
    with pytest.raises(RunError) as caught:
        find("xyz", tmp_path)
    assert str(caught.value) == (
        f"xyz: no such run in {tmp_path} {allowed}. List the runs with `hpc-dl status`, or specify their folder with "
        "--runs DIR"
    )


@pytest.mark.parametrize("name", ["latest", "a"])
def test_find_without_any_runs(tmp_path: Path, name: str) -> None:
    assert list(all_runs(tmp_path / "none")) == []
    with pytest.raises(RunError, match="no such run in"):
        find(name, tmp_path / "none")


def test_write_state_replaces_all_details(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    write_state(run, "failed", reason="why", rank=3)
    write_state(run, "running", attempt=1)
    state = read_state(run)
    assert {"state": "running", "attempt": 1, "pid": os.getpid()}.items() <= state.items()
    assert set(state) == {"state", "attempt", "time", "host", "pid"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", state["time"])


def test_find_rejects_an_empty_name(tmp_path: Path) -> None:
    make(tmp_path, "only", 1)
    with pytest.raises(RunError, match="RUN: is empty"):
        find("", tmp_path)


@pytest.mark.parametrize(
    ("marker", "version"),
    [(None, "layout 1"), ("1\n", "layout 1"), ("3\n", "layout 3"), ("", "layout ")],
    ids=["unmarked", "older", "newer", "empty"],
)
def test_find_refuses_another_layout(tmp_path: Path, marker: str | None, version: str) -> None:
    run = make(tmp_path, "a")
    run.layout.unlink()
    if marker is not None:
        run.layout.write_text(marker)
    run.config.write_text("task: unknown to this version\n")
    for name in ("a", "latest", str(run.path)):
        with pytest.raises(RunError) as caught:
            find(name, tmp_path)
        assert str(caught.value) == (
            f"{run.path}: the run folder was written by another version of hpc_dl (got {version!r}; allowed: layout "
            f"{LAYOUT_VERSION}). Start a new run with `hpc-dl train` or `hpc-dl submit`"
        )
    assert list(all_runs(tmp_path)) == [run]


def test_created_folder_has_the_current_layout(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, "a").layout_fault() is None
