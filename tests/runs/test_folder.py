"""The run folder: made, found again, and what it says of itself."""

import os
import re
from pathlib import Path

import pytest

from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder, all_runs, default_runs, find
from hpc_dl.runs.state import read_state, write_state


def make(runs: Path, name: str, time: int = 0) -> RunFolder:
    run = RunFolder(runs / name)
    run.path.mkdir(parents=True)
    run.config.write_text("name: x\n")
    os.utime(run.config, (time, time))
    return run


def test_a_new_folder_is_absolute_unique_and_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (RunFolder.create(Path("runs/deep"), "cnn-digits") for _ in range(2))
    assert first.path != second.path
    for run in (first, second):
        assert run.path.parent == tmp_path / "runs" / "deep"
        assert re.fullmatch(r"cnn-digits-\d{8}-\d{6}-[0-9a-f]{4}", run.name)
        assert {path.name for path in run.path.iterdir()} == {"journal", "checkpoints", "logs", "submitit"}
    assert read_state(first) == {"state": "created"}


def test_every_path_lies_in_the_folder_under_a_name_of_its_own(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "a")
    paths = [getattr(run, key) for key, value in vars(RunFolder).items() if isinstance(value, property)]
    paths = [path for path in paths if isinstance(path, Path)] + [run.log(0), run.log(3)]
    assert len(paths) == len(set(paths)) > 12
    assert all(path.is_relative_to(run.path) and path != run.path for path in paths)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(RunError) as caught:
        RunFolder.create(file, "a")
    assert str(caught.value) == (
        f"{file}: a run folder cannot be made here: Not a directory. Choose another folder with --runs DIR"
    )


def test_a_run_is_found_by_its_name_its_beginning_its_path_or_as_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    old, new, longer = make(runs, "a-1", 30), make(runs, "b-1", 10), make(runs, "a-12", 20)
    (runs / "no-run").mkdir()
    (runs / "file").write_text("")
    assert [run.name for run in all_runs(runs)] == ["b-1", "a-12", "a-1"], "oldest first"
    assert find("latest", runs) == old
    assert find("b", runs) == new
    assert find("a-1", runs) == old, "the whole name wins over a longer one that begins with it"
    assert find("a-12", runs) == longer
    assert find(str(runs / "b-1"), tmp_path / "elsewhere") == new
    monkeypatch.chdir(runs)
    assert find("./b-1", tmp_path / "elsewhere") == new
    assert find("b-1", tmp_path / "elsewhere").path == runs / "b-1", "absolute, so that it stays right after a chdir"


def test_a_word_that_fits_several_runs_or_none(tmp_path: Path) -> None:
    for number in range(7):
        make(tmp_path, f"cnn-{number}", number)
    with pytest.raises(RunError) as caught:
        find("cnn", tmp_path)
    assert str(caught.value) == (
        "cnn: fits 7 runs (allowed: cnn-6, cnn-5, cnn-4, cnn-3, cnn-2 and 2 older). Write more of the name, or `latest`"
    )
    allowed = "(allowed: a run's name, the beginning of one, its folder, or 'latest')"
    with pytest.raises(RunError) as caught:
        find("cmn-3", tmp_path)
    assert str(caught.value) == f"cmn-3: no such run in {tmp_path} {allowed}. Did you mean 'cnn-3'?"
    with pytest.raises(RunError) as caught:
        find("xyz", tmp_path)
    assert str(caught.value) == (
        f"xyz: no such run in {tmp_path} {allowed}. List the runs with `hpc-dl status`, or name their folder with "
        "--runs DIR"
    )


@pytest.mark.parametrize("word", ["latest", "a"])
def test_there_are_no_runs_at_all(tmp_path: Path, word: str) -> None:
    assert list(all_runs(tmp_path / "none")) == []
    with pytest.raises(RunError, match="no such run in"):
        find(word, tmp_path / "none")


def test_where_runs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HPC_DL_RUNS", raising=False)
    assert default_runs() == Path("runs")
    monkeypatch.setenv("HPC_DL_RUNS", "/scratch/runs")
    assert default_runs() == Path("/scratch/runs")


def test_the_state_is_replaced_as_a_whole(tmp_path: Path) -> None:
    run = make(tmp_path, "a")
    write_state(run, "failed", reason="why", rank=3)
    write_state(run, "running", attempt=1)
    state = read_state(run)
    assert {"state": "running", "attempt": 1, "pid": os.getpid()}.items() <= state.items()
    assert set(state) == {"state", "attempt", "time", "host", "pid"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", state["time"])


def test_an_empty_word_means_no_run(tmp_path: Path) -> None:
    make(tmp_path, "only", 1)
    with pytest.raises(RunError, match="RUN: is empty"):
        find("", tmp_path)
