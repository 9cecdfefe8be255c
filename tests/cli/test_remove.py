"""``hpc-dl remove``: asks, and keeps what runs and what others need."""

import io
import os
import socket
import sys
from pathlib import Path

import psutil
import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.config import yaml
from hpc_dl.inference.model_task import ModelTask
from hpc_dl.runs import predecessors, snapshot
from hpc_dl.runs.folder import CODE_STORE, RunFolder
from hpc_dl.runs.state import write_state
from hpc_dl.sweeps.folder import SweepFolder
from tests.cli.conftest import HpcDl


def make(name: str, state: str = "finished", folder: Path = Path("runs"), **model: object) -> RunFolder:
    run = RunFolder.create_at(folder.absolute() / name)
    run.config.write_text(yaml.dumps({"name": "x", "seed": 0, "model": {"name": "mlp", **model}}))
    write_state(run, state)  # type: ignore[arg-type]
    return run


def make_sweep(*states: str) -> SweepFolder:
    sweep = SweepFolder(Path("runs/x-sweep").absolute())
    names = [f"x-{number}" for number in range(len(states))]
    for name, state in zip(names, states, strict=True):
        make(name, state, sweep.path)
    sweep.write_members({name: {"signature": name, "point": {}, "seed": 0} for name in names})
    sweep.config.write_text("sweep: {}\n")
    return sweep


def left() -> set[str]:
    return {path.name for path in Path("runs").iterdir()}


def test_run_is_deleted_with_its_snapshot_only(hpc_dl: HpcDl, tmp_path: Path) -> None:
    one, two = make("one"), make("two")
    own, shared = (Path("runs", CODE_STORE, name).absolute() for name in ("own", "shared"))
    for path in (own, shared):
        path.mkdir(parents=True)
        os.utime(path, (0, 0))
    snapshot.link(one, own)
    snapshot.link(two, shared)
    answer = hpc_dl("remove", "one", "--yes")
    assert (answer.status, answer.err) == (0, "Deleted one.\n")
    assert left() == {"two", CODE_STORE} and [path.name for path in own.parent.iterdir()] == ["shared"]


@pytest.mark.parametrize(("typed", "status"), [("y\n", 0), ("yes\n", 0), ("\n", 1), ("n\n", 1), ("", 1)])
def test_question(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch, typed: str, status: int) -> None:
    make("one")
    terminal = io.StringIO(typed)
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stdin", terminal)
    answer = hpc_dl("remove", "one")
    assert answer.status == status and "Delete one (1 run, 0.0 MB) for good? [y/N]" in answer.err
    assert left() == (set() if status == 0 else {"one"})


def test_without_a_terminal_nothing_is_deleted(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    make("one")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    answer = hpc_dl("remove", "one")
    assert answer.status == 2 and "Add --yes" in answer.err and left() == {"one"}


def test_running_runs_stay_and_with_them_all_that_are_named(hpc_dl: HpcDl) -> None:
    make("ended"), make("active", "running")
    job = {"pid": os.getpid(), "process_started": psutil.Process().create_time(), "host": socket.gethostname()}
    write_json(Path("runs/active/job.json"), job)
    answer = hpc_dl("remove", "ended", "active", "--yes")
    assert answer.status == 2 and "active: has not ended (got 'running'). Stop it first" in answer.err
    assert left() == {"ended", "active"}


def test_runs_that_others_start_from_stay(hpc_dl: HpcDl) -> None:
    base = make("base")
    make("tuned", init_from=str(base.best_checkpoint))
    earlier, waiting = make("earlier"), make("waiting", "created")
    predecessors.record(waiting, [earlier])
    make("x-1", folder=make_sweep("finished").path, init_from=str(base.path / "checkpoints" / "step-1.ckpt"))
    SweepFolder(Path("runs/x-sweep")).write_members({"x-1": {"signature": "x-1", "point": {}, "seed": 0}})
    answer = hpc_dl("remove", "base", "--yes")
    assert answer.status == 2 and "base: is needed by tuned, x-1: they start from it" in answer.err
    assert "earlier: is needed by waiting" in hpc_dl("remove", "earlier", "--yes").err
    assert {"base", "tuned", "earlier", "waiting", "x-sweep"} == left()
    assert hpc_dl("remove", "base", "tuned", "x-sweep", "--yes").status == 0
    write_state(waiting, "finished")
    assert hpc_dl("remove", "earlier", "--yes").status == 0
    assert left() == {"waiting"}


def test_run_that_an_evaluation_uses_stays(hpc_dl: HpcDl) -> None:
    base, evaluation = make("base"), make("evaluation", "failed")
    ModelTask(base.path, split="test").write(evaluation)
    answer = hpc_dl("remove", "base", "--yes")
    assert answer.status == 2 and "base: is needed by evaluation" in answer.err


def test_a_link_to_the_runs_folder_hides_no_need(hpc_dl: HpcDl, tmp_path: Path) -> None:
    Path("elsewhere").mkdir()
    Path("runs").symlink_to("elsewhere")
    base = make("base")
    make("tuned", init_from=str(base.best_checkpoint.parent.resolve() / "best.ckpt"))
    answer = hpc_dl("remove", "base", "--yes")
    assert answer.status == 2 and "base: is needed by tuned" in answer.err


def test_sweep_with_a_damaged_list_of_members_stays(hpc_dl: HpcDl) -> None:
    sweep = make_sweep("running")
    Path(sweep.path, "members.json").write_text("{")
    answer = hpc_dl("remove", sweep.name, "--yes")
    assert answer.status == 2 and "members.json" in answer.err and left() == {sweep.name}


def test_sweep_is_deleted_as_a_whole(hpc_dl: HpcDl) -> None:
    make_sweep("finished", "failed")
    answer = hpc_dl("remove", "x-1", "--yes")
    assert answer.status == 2 and "x-1: is a member of x-sweep" in answer.err
    assert hpc_dl("remove", "x-sweep", "--yes").status == 0
    assert left() == set()


def test_sweep_with_members_to_come_stays(hpc_dl: HpcDl) -> None:
    make_sweep("finished", "created")
    answer = hpc_dl("remove", "x-sweep", "--yes")
    assert answer.status == 2 and "x-1: has not ended" in answer.err and "hpc-dl cancel x-sweep" in answer.err
    assert left() == {"x-sweep"}


def test_interrupted_removal_leaves_no_run_behind(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    make("one"), make("two")
    with monkeypatch.context() as patch:
        patch.setattr("hpc_dl.cluster.removal.shutil.rmtree", interrupted)
        hpc_dl("remove", "one", "--yes")
    assert "one" not in hpc_dl("status").out and len(left()) == 2
    hpc_dl("remove", "two", "--yes")
    assert left() == set(), "the rest is deleted with the next"
