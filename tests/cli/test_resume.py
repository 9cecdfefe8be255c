"""``hpc-dl resume``: a resumed run ends like an uninterrupted one; invalid requests are refused."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.status import status
from hpc_dl.config import yaml
from hpc_dl.errors import RunError
from hpc_dl.regular_files import read_json
from hpc_dl.runs import lock
from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.tracking.journal import read_journal
from tests import experiments
from tests.cli.conftest import HpcDl
from tests.training import modules

pytestmark = pytest.mark.slow

LEARNING = {"model": {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.5}, "optimizer": {"name": "adam", "lr": 1e-2}}


def only_run(folder: str = "runs") -> RunFolder:
    (run,) = all_runs(Path(folder))
    return run


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    return state


def rows(run: RunFolder) -> list[dict[str, Any]]:
    """Return the journal without times and without test metrics (an extended run has two)."""
    timing = ("time", "train/samples_per_s")
    return [{k: v for k, v in row.items() if k not in timing and "test/" not in k} for row in read_journal(run.journal)]


def train_until_ctrl_c(config: Path) -> None:
    """Train in a child process and send it SIGINT after its first steps."""
    command = [Path(sys.executable).with_name("hpc-dl"), "train", config]
    messages = Path("messages")
    # A shell starts background commands with SIGINT ignored, which children would inherit.
    with (
        messages.open("w") as stderr,
        subprocess.Popen(
            command, stderr=stderr, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 90
            while not any(read_journal(run.journal) for run in all_runs(Path("runs"))):
                assert time.monotonic() < deadline and process.poll() is None, messages.read_text()
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            process.wait(300)
        finally:
            process.kill()
    assert process.returncode == 75, messages.read_text()
    assert "continue it with `hpc-dl resume" in messages.read_text()


def test_stopped_run_ends_like_an_uninterrupted_one(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    path = config(**LEARNING, trainer={"max_epochs": 100, "check_val_every_n_epoch": 20})
    train_until_ctrl_c(path)
    run = only_run()
    stopped = read_state(run)
    assert (stopped["state"], 0 < stopped["step"] < 600) == ("stopped", True)
    result = hpc_dl("status", "--json")
    assert [(row["state"], row["run"]) for row in result.json] == [("stopped", run.name)]
    result = hpc_dl("resume", "latest", "--json")
    assert result.status == 0, result.err
    assert (result.json["state"], result.json["steps"], result.json["dir"]) == ("finished", 600, str(run.path))
    assert f"resumes at step {stopped['step']}" in result.err
    assert [line["event"] for line in history(run)] == ["started", "ended", "resumed", "started", "ended"]
    assert hpc_dl("train", path, "--runs", "uninterrupted").status == 0
    uninterrupted = only_run("uninterrupted")
    assert rows(run) == rows(uninterrupted)
    assert all(torch.equal(value, weights(uninterrupted)[name]) for name, value in weights(run).items())
    assert read_json(run.result)["metrics"] == read_json(uninterrupted.result)["metrics"]


def test_extended_run_equals_a_longer_one(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config(**LEARNING, trainer={"max_epochs": 2})).status == 0
    run = only_run()
    refused = hpc_dl("resume", run.name)
    assert (refused.status, "has finished. To continue training, increase trainer.max_epochs" in refused.err) == (
        2,
        True,
    )
    first = read_json(run.result)
    assert hpc_dl("resume", run.name, "trainer.max_epochs=4", "resources.time=2:00:00").status == 0
    assert yaml.load(run.config)["trainer"]["max_epochs"] == 4
    changes = next(line for line in history(run) if line["event"] == "resumed")["changes"]
    assert changes == {"trainer.max_epochs": [2, 4], "resources.time": ["01:00:00", "2:00:00"]}
    assert [read_json(path) for path in run.path.glob("result-until-*.json")] == [first]
    assert hpc_dl("train", config(**LEARNING, trainer={"max_epochs": 4}), "--runs", "uninterrupted").status == 0
    uninterrupted = only_run("uninterrupted")
    assert rows(run) == rows(uninterrupted)
    assert all(torch.equal(value, weights(uninterrupted)[name]) for name, value in weights(run).items())


def test_override_that_changes_the_experiment_is_refused(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config(**LEARNING, trainer={"max_epochs": 2})).status == 0
    run = only_run()
    before = {path: path.read_bytes() for path in run.path.glob("*.*") if path.is_file()}
    for overrides, messages in (
        (["optimizer.lr=0.5"], ["optimizer.lr: cannot change within a run", "got 0.5; allowed: 0.01"]),
        (["model.width=9", "seed=8"], ["model.width: cannot change", "seed: cannot change"]),
        (["data.batch_size=4"], ["data.batch_size: changes the size 8 of the batch over all ranks (got 4)"]),
        (["resources.gpus_per_node=3"], ["data.global_batch_size: cannot be divided evenly among 3 ranks"]),
        (["trainer.max_steps=2"], ["trainer.max_steps: the run has already done 12 steps (got 2)"]),
        (["trainer.max_epoch=2"], ["trainer.max_epoch: unknown key"]),
        (["trainer.max_epochs=1"], ["trainer.max_epochs: the run is already in epoch 3 (got 1)"]),
    ):
        result = hpc_dl("resume", run.name, "trainer.max_epochs=9", *overrides)
        assert result.status == 2
        assert all(message in result.err for message in messages), result.err
        assert "Traceback" not in result.err
    assert before == {path: path.read_bytes() for path in run.path.glob("*.*") if path.is_file()}


def test_changed_data_file_is_refused(hpc_dl: HpcDl, tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.dumps(experiments.raw(file)))
    assert hpc_dl("train", path).status == 0
    with h5py.File(file, "r+") as opened:
        # As if the file had been made again from other samples.
        opened.attrs["sha256"] = "0" * 64
    result = hpc_dl("resume", "latest", "trainer.max_epochs=2")
    assert (result.status, "has changed since the run started" in result.err) == (2, True)


def test_running_run_is_refused(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = only_run()
    write_state(run, "running")
    import psutil

    process = psutil.Process()
    write_json(run.job, {**read_json(run.job), "pid": os.getpid(), "process_started": process.create_time()})
    result = hpc_dl("resume", run.name)
    assert result.status == 2
    assert f"is running (process {os.getpid()} on" in result.err
    assert f"hpc-dl cancel {run.name}" in result.err


def test_training_whose_launcher_was_killed_blocks_resuming(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = only_run()
    with lock.held(run):
        assert status(run)["state"] == "finished"
        write_state(run, "running")
        write_json(run.job, {**read_json(run.job), "pid": 2**22 + 1})  # no such process
        message = f"is still running in process {os.getpid()} on this machine"
        facts = status(run)
        assert (facts["state"], message.removeprefix("is ") in facts["reason"]) == ("running", True)
        write_state(run, "stopped", step=3)
        result = hpc_dl("resume", run.name, "trainer.max_epochs=2")
        assert (result.status, message in result.err) == (2, True)
        with pytest.raises(RunError, match="is running in process"), lock.held(run):
            pass
    assert hpc_dl("resume", run.name, "trainer.max_epochs=2").status == 0


def test_run_of_sbatch_does_not_train_on_the_login_node(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = only_run()
    write_json(run.job, {"launcher": "sbatch", "job_id": "7", "host": "elsewhere"})
    result = hpc_dl("resume", run.name, "trainer.max_epochs=2")
    assert (result.status, "specify one with --site" in result.err.lower()) == (2, True)
    assert read_state(run)["state"] == "finished"


def test_resume_uses_the_code_of_the_first_start(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = only_run()
    snapshot = run.code.resolve()
    run.code.unlink()
    shutil.copytree(snapshot, run.code)
    (run.code / "hpc_dl" / "training" / "train.py").write_text("raise RuntimeError('the snapshot was run')\n")
    result = hpc_dl("resume", run.name, "trainer.max_epochs=2")
    assert (result.status, read_state(run)["reason"]) == (1, "RuntimeError: the snapshot was run")
    assert hpc_dl("resume", run.name, "--update-code").status == 0
    assert read_state(run)["state"] == "finished"
    assert len(list(run.path.glob("code-until-*"))) == 1


def test_own_module_is_found_from_any_folder(
    hpc_dl: HpcDl, config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, elsewhere = Path.cwd(), tmp_path / "elsewhere"
    for name in ("resumed_elsewhere.py", "linear_net.py"):
        shutil.copy(Path(modules.__file__).parent / name, project)
    path = config(model={"class": "resumed_elsewhere.Net"}, optimizer=None)
    result = hpc_dl("train", path)
    assert result.status == 0, result.err
    run = only_run()
    (project / "resumed_elsewhere.py").write_text("raise RuntimeError('not the snapshot')")
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = hpc_dl("resume", run.path.name, "trainer.max_epochs=2", "--runs", project / "runs")
    assert result.status == 0, result.err
    resumed = RunFolder(project / "runs" / run.name)
    assert read_state(resumed)["state"] == "finished"
    for name in ("resumed_elsewhere", "linear_net"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (elsewhere / "linear_net.py").write_text("raise RuntimeError('another module of this name')")
    evaluated = hpc_dl("evaluate", resumed.path, "--json")
    assert evaluated.status == 0, evaluated.err
    assert evaluated.json["metrics"]["loss"] == pytest.approx(read_json(resumed.result)["metrics"]["test/loss"])
