"""A training reports to W&B what its journal has, also what a module logs to W&B itself."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.wandb_on_demand import AfterImport
from hpc_dl.tracking.wandb_record import WandbRecord
from hpc_dl.tracking.wandb_rows import LOGGED
from hpc_dl.training.loggers import Loggers
from hpc_dl.training.ranks import Ranks
from hpc_dl.training.train import train
from tests import experiments
from tests.conftest import PROJECT, WANDB_KEY
from tests.tracking.fake_wandb import FakeWandb
from tests.tracking.reported_run import wait
from tests.training import attempts
from tests.training.attempts import Stop

MEDIA = {"image", "weights", "note"}


def prepared(folder: Path, file: Path, **sections: Any) -> RunFolder:
    return experiments.prepared(folder, experiments.raw(file, wandb={"mode": "auto"}, **sections))


def check_rows(run: RunFolder, server: FakeWandb, *, replayed: bool = False) -> None:
    """Check that W&B has each value of the journal once.

    Of replayed steps it has the values of the first time: the same, apart from the speed.
    """
    run_id = WandbRecord.of(run.path).id
    journal = {
        row["step"]: {name: value for name, value in row.items() if value is not None and name not in ("time", "step")}
        for row in read_journal(run.journal)
    }
    shown = {
        step: {name: value for name, value in row.items() if name not in MEDIA}
        for step, row in server.values(run_id).items()
    }
    if replayed:
        assert [set(row) for row in shown.values()] == [set(row) for row in journal.values()]
        for row in [*shown.values(), *journal.values()]:
            row.pop("train/samples_per_s", None)
    assert shown == journal
    assert (server.duplicates(run_id), server.dropped) == (0, {})


@pytest.mark.slow
@pytest.mark.usefixtures("user_modules")
def test_module_may_log_to_wandb_itself(tmp_path: Path, image_file: Path, wandb_server: FakeWandb) -> None:
    model = {"class": "logs_to_wandb.Net"}
    run = prepared(tmp_path, image_file, model=model, trainer={"max_epochs": 2})
    train(run)
    sys.modules.pop("logs_to_wandb")
    run_id = WandbRecord.of(run.path).id
    check_rows(run, wandb_server)
    rows = wandb_server.rows[run_id]
    assert [row["trainer/global_step"] for row in rows if "by_wandb" in row and "by_logger" in row] == list(
        range(1, 13)
    )
    assert all(row["by_wandb"] == pytest.approx(row["by_logger"]) for row in rows if "by_wandb" in row)
    images = [row["image"]["path"] for row in rows if "image" in row]
    assert len(images) == 2
    assert set(images) == set(wandb_server.files)
    assert all(content.startswith(b"\x89PNG") for content in wandb_server.files.values())
    assert [row["note"] for row in rows if "weights" in row] == ["fine", "fine"]
    assert wandb_server.summaries[run_id]["epochs_seen"] == 2
    assert wandb_server.run(run_id)["config"]["own_setting"] == 3


@pytest.mark.usefixtures("user_modules")
def test_module_that_logs_to_wandb_trains_with_wandb_disabled(tmp_path: Path, image_file: Path) -> None:
    content = experiments.raw(image_file, model={"class": "logs_to_wandb.Net"})
    run = experiments.prepared(tmp_path, content)
    train(run)
    sys.modules.pop("logs_to_wandb")
    assert sum("by_wandb" in row for row in read_journal(run.journal)) == 6
    assert not (run.path / "wandb.json").exists()


@pytest.fixture
def no_wandb(user_modules: None) -> Iterator[None]:
    """A process that has not imported wandb yet."""
    hidden = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "wandb"}
    own = "hpc_dl.tracking.wandb_run"
    hidden |= {own: sys.modules[own]} if own in sys.modules else {}
    for name in hidden:
        del sys.modules[name]
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "wandb" or name == own]:
        del sys.modules[name]
    sys.modules.update(hidden)
    sys.modules.pop("logs_without_wandb", None)


def logged_without_wandb(run: RunFolder) -> tuple[int, int, int]:
    """The rows in the journal with a value of the logger and of wandb, and the rows beside it."""
    rows = read_journal(run.journal)
    beside = read_journal(run.path / LOGGED, any_values=True)
    assert all({"note", "weights"} <= set(row) for row in beside)
    assert '{"summary": {"best": 1}}' in (run.path / LOGGED / "settings.jsonl").read_text()
    return sum("by_logger" in row for row in rows), sum("by_wandb" in row for row in rows), len(beside)


@pytest.mark.slow
@pytest.mark.usefixtures("no_wandb")
def test_module_without_wandb_logs_through_its_logger(tmp_path: Path, image_file: Path) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(image_file, model={"class": "logs_without_wandb.Net"}))
    train(run)
    assert logged_without_wandb(run) == (6, 0, 6)


@pytest.mark.slow
@pytest.mark.usefixtures("no_wandb")
def test_module_may_import_wandb_late_with_wandb_disabled(tmp_path: Path, image_file: Path) -> None:
    content = experiments.raw(image_file, model={"class": "logs_without_wandb.ImportsLate"})
    run = experiments.prepared(tmp_path, content)
    train(run)
    assert logged_without_wandb(run) == (6, 6, 6)
    assert len(list((run.path / "wandb" / "files").rglob("*.png"))) == 6
    assert not [finder for finder in sys.meta_path if isinstance(finder, AfterImport)]


@pytest.mark.usefixtures("user_modules")
def test_unknown_attribute_of_the_experiment_says_what_to_use(tmp_path: Path, image_file: Path) -> None:
    content = experiments.raw(image_file, model={"class": "logs_without_wandb.UsesMLflow"})
    with pytest.raises(AttributeError) as caught:
        train(experiments.prepared(tmp_path, content))
    sys.modules.pop("logs_without_wandb")
    assert str(caught.value).startswith("self.logger.experiment has no set_tag")
    assert "self.log(" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_ranks_may_call_wandb(tmp_path: Path, image_file: Path, wandb_server: FakeWandb) -> None:
    """A module calls it on every rank; only the calls of rank 0 are recorded, as with Lightning."""
    import wandb

    from hpc_dl.tracking.wandb_run import end_globals

    run = prepared(tmp_path, image_file)
    loggers = Loggers(run, Experiment.from_dict(yaml.load(run.config)), Ranks(1, 1, 2, False), 0, 0)
    try:
        assert wandb.init(project="other") is wandb.run
        wandb.log({"loss": 1.0, "image": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))})
        wandb.run.summary["best"] = 1.0
        wandb.config.update({"own": 2})
    finally:
        loggers.close()
        end_globals()
    assert wandb_server.requests.total() == 0
    assert not (run.path / "wandb").exists()


@pytest.mark.slow
def test_content_of_a_run(tmp_path: Path, image_file: Path, wandb_server: FakeWandb) -> None:
    runs = [prepared(tmp_path, image_file, seed=seed) for seed in (1, 2)]
    for run in runs:
        train(run)
        check_rows(run, wandb_server)
    ids = [WandbRecord.of(run.path).id for run in runs]
    described = [wandb_server.run(run_id) for run_id in ids]
    assert len({variables["displayName"] for variables in described}) == 2
    assert [variables["displayName"] for variables in described] == [
        f"{run.name} (seed {seed})" for run, seed in zip(runs, (1, 2), strict=True)
    ]
    assert described[0]["groupName"] == "tiny"
    assert described[0]["commit"] == described[0]["config"]["hpc_dl"]["commit"]
    summary = wandb_server.summaries[ids[0]]
    assert {"parameters", "diagnosis", "test/accuracy", "seconds", "epochs"} <= set(summary)
    assert described[0]["config"]["hpc_dl"]["parameters"] == summary["parameters"]
    assert wandb_server.state(ids[0]) == "finished"
    assert wandb_server.events[ids[0]][0]["system.cpu"] >= 0


@pytest.mark.slow
def test_stopped_and_resumed_training_has_each_row_once(
    tmp_path: Path, image_file: Path, wandb_server: FakeWandb
) -> None:
    """Signals arrive at ten places, some between an epoch's last step and its validation."""
    run = prepared(tmp_path, image_file, trainer={"max_epochs": 4})
    places = [Stop(step) for step in (1, 6, 8, 11, 13, 15, 17, 20, 22)]
    attempts.finish(run, *places)
    check_rows(run, wandb_server)
    run_id = WandbRecord.of(run.path).id
    assert wandb_server.state(run_id) == "finished"
    assert len(wandb_server.rows) == 1


_TRAIN = """
import sys
from pathlib import Path
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
defer_rarely_used()
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.train import train
train(RunFolder(Path(sys.argv[1])))
"""


@pytest.mark.slow
def test_killed_and_resumed_training_has_each_row_once(
    tmp_path: Path, image_file: Path, wandb_server: FakeWandb
) -> None:
    run = prepared(tmp_path, image_file, trainer={"max_epochs": 100}, checkpoint={"every": "50 steps"})
    process = subprocess.Popen([sys.executable, "-c", _TRAIN, str(run.path)], cwd=PROJECT, stderr=subprocess.DEVNULL)
    try:
        wait(lambda: process.poll() is not None or any(len(rows) >= 80 for rows in wandb_server.rows.values()), 120)
        assert process.poll() is None, "it ended before it could be killed"
        assert psutil.Process(process.pid).children(recursive=True) == [], "a process of W&B could be killed by signals"
    finally:
        process.kill()
        process.wait()
    first = WandbRecord.of(run.path).id
    train(run)
    check_rows(run, wandb_server, replayed=True)
    assert WandbRecord.of(run.path).id == first
    assert wandb_server.state(first) == "finished"


@pytest.mark.slow
def test_files_stay_in_the_run_folder(
    tmp_path: Path, image_file: Path, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside = {name: tmp_path / name for name in ("cwd", "tmp", "xdg")}
    for folder in outside.values():
        folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(outside["xdg"]))
    monkeypatch.setenv("TMPDIR", str(outside["tmp"]))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.chdir(outside["cwd"])
    environment = dict(os.environ)
    run = prepared(tmp_path, image_file)
    train(run)
    outside["home"] = tmp_path / "home"
    assert [path for folder in outside.values() for path in folder.rglob("*") if path.is_file()] == []
    assert {name: value for name, value in os.environ.items() if name.startswith("WANDB")} == {
        name: value for name, value in environment.items() if name.startswith("WANDB")
    }
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert [path for path in files if WANDB_KEY.encode() in path.read_bytes()] == []
    assert list((run.path / "wandb").iterdir()) == [run.path / "wandb" / "history.jsonl"]


@pytest.mark.slow
def test_disabled_run_does_not_import_wandb(tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import of it fails
    monkeypatch.delitem(sys.modules, "wandb")
    run = experiments.prepared(tmp_path, experiments.raw(image_file))
    train(run)
    assert "wandb" not in sys.modules
    assert not (run.path / "wandb.json").exists()
