"""``hpc-dl resume``: the same folder, the same result as without the interruption, and clear
refusals."""

import os
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

from hpc_dl.atomic_files import read_json, write_json
from hpc_dl.cluster.status import status
from hpc_dl.config import yaml
from hpc_dl.errors import RunError
from hpc_dl.runs import lock
from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder, all_runs
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.tracking.journal import read_journal
from tests import experiments
from tests.cli.conftest import HpcDl

LEARNING = {"model": {"name": "mlp", "width": 8, "depth": 1, "dropout": 0.5}, "optimizer": {"name": "adam", "lr": 1e-2}}


def the_run() -> RunFolder:
    (run,) = all_runs(Path("runs"))
    return run


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    return state


def rows(run: RunFolder) -> list[dict[str, Any]]:
    """The journal without what a clock says, and without the tests, of which an extended run has
    two."""
    left_out = ("time", "train/samples_per_s")
    return [
        {k: v for k, v in row.items() if k not in left_out and "test/" not in k} for row in read_journal(run.journal)
    ]


def stopped_by(number: int, config: Path) -> None:
    """Train in a process of its own, and send it a signal when it has done some steps."""
    command = [Path(sys.executable).with_name("hpc-dl"), "train", config]
    with Path("told").open("w") as told, subprocess.Popen(command, stderr=told) as process:
        try:
            limit = time.monotonic() + 90
            while not any(read_journal(run.journal) for run in all_runs(Path("runs"))):
                assert time.monotonic() < limit and process.poll() is None, Path("told").read_text()
                time.sleep(0.02)
            process.send_signal(number)
            process.wait(60)
        finally:
            process.kill()
    assert process.returncode == 75, Path("told").read_text()
    assert "it goes on with `hpc-dl resume" in Path("told").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGUSR2])
def test_a_run_that_was_stopped_ends_like_one_that_was_not(
    hpc_dl: HpcDl, config: Callable[..., Path], number: int
) -> None:
    path = config(**LEARNING, trainer={"max_epochs": 100, "check_val_every_n_epoch": 20})
    stopped_by(number, path)
    run = the_run()
    stopped = read_state(run)
    assert (stopped["state"], 0 < stopped["step"] < 600) == ("stopped", True)
    answer = hpc_dl("status", "--json")
    assert [(row["state"], row["run"]) for row in answer.json] == [("stopped", run.name)]
    answer = hpc_dl("resume", "latest", "--json")
    assert answer.status == 0, answer.err
    assert (answer.json["state"], answer.json["steps"], answer.json["dir"]) == ("finished", 600, str(run.path))
    assert f"resumes at step {stopped['step']}" in answer.err
    assert [line["event"] for line in history(run)] == ["started", "ended", "resumed", "started", "ended"]
    assert hpc_dl("train", path, "--runs", "whole").status == 0
    (whole,) = all_runs(Path("whole"))
    assert rows(run) == rows(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(run).items())
    assert read_json(run.result)["metrics"] == read_json(whole.result)["metrics"]


def test_a_finished_run_trains_on_as_if_it_had_been_meant_so_from_the_beginning(
    hpc_dl: HpcDl, config: Callable[..., Path]
) -> None:
    assert hpc_dl("train", config(**LEARNING, trainer={"max_epochs": 2})).status == 0
    run = the_run()
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
    assert hpc_dl("train", config(**LEARNING, trainer={"max_epochs": 4}), "--runs", "whole").status == 0
    (whole,) = all_runs(Path("whole"))
    assert rows(run) == rows(whole)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(run).items())


def test_what_would_be_another_experiment_is_refused_and_nothing_is_changed(
    hpc_dl: HpcDl, config: Callable[..., Path]
) -> None:
    assert hpc_dl("train", config(**LEARNING, trainer={"max_epochs": 2})).status == 0
    run = the_run()
    before = {path: path.read_bytes() for path in run.path.glob("*.*") if path.is_file()}
    for words, told in (
        (["optimizer.lr=0.5"], ["optimizer.lr: cannot change within a run", "got 0.5; allowed: 0.01"]),
        (["model.width=9", "seed=8"], ["model.width: cannot change", "seed: cannot change"]),
        (["data.batch_size=4"], ["data.batch_size: changes the size 8 of the batch over all ranks (got 4)"]),
        (["resources.gpus_per_node=3"], ["data.global_batch_size: cannot be shared evenly by 3 ranks"]),
        (["trainer.max_steps=2"], ["trainer.max_steps: the run has already done 12 steps (got 2)"]),
        (["trainer.max_epoch=2"], ["trainer.max_epoch: unknown key"]),
        (["trainer.max_epochs=1"], ["trainer.max_epochs: the run is already in epoch 3 (got 1)"]),
    ):
        answer = hpc_dl("resume", run.name, "trainer.max_epochs=9", *words)
        assert answer.status == 2
        assert all(line in answer.err for line in told), answer.err
        assert "Traceback" not in answer.err
    assert before == {path: path.read_bytes() for path in run.path.glob("*.*") if path.is_file()}


def test_a_data_file_with_another_content_is_refused(hpc_dl: HpcDl, tmp_path: Path) -> None:
    file = experiments.classification_file(tmp_path)
    path = tmp_path / "own.yaml"
    path.write_text(yaml.dumps(experiments.raw(file)))
    assert hpc_dl("train", path).status == 0
    with h5py.File(file, "r+") as opened:
        # As if somebody had made the file anew from other samples.
        opened.attrs["sha256"] = "0" * 64
    answer = hpc_dl("resume", "latest", "trainer.max_epochs=2")
    assert (answer.status, "has changed since the run started" in answer.err) == (2, True)


def test_a_run_at_work_is_refused(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = the_run()
    write_state(run, "running")
    import psutil

    process = psutil.Process()
    write_json(run.job, {**read_json(run.job), "pid": os.getpid(), "process_started": process.create_time()})
    answer = hpc_dl("resume", run.name)
    assert answer.status == 2
    assert f"is running (process {os.getpid()} on" in answer.err
    assert f"hpc-dl cancel {run.name}" in answer.err


def test_a_training_whose_launcher_was_killed_keeps_others_out(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = the_run()
    with lock.held(run):
        assert status(run)["state"] == "finished"
        write_state(run, "running")
        write_json(run.job, {**read_json(run.job), "pid": 2**22 + 1})  # there is no such process
        told = f"is still running in process {os.getpid()} on this machine"
        facts = status(run)
        assert (facts["state"], told.removeprefix("is ") in facts["reason"]) == ("running", True)
        write_state(run, "stopped", step=3)
        answer = hpc_dl("resume", run.name, "trainer.max_epochs=2")
        assert (answer.status, told in answer.err) == (2, True)
        with pytest.raises(RunError, match="is running in process"), lock.held(run):
            pass
    assert hpc_dl("resume", run.name, "trainer.max_epochs=2").status == 0


def test_a_run_of_sbatch_is_not_trained_on_the_login_node(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = the_run()
    write_json(run.job, {"launcher": "sbatch", "job_id": "7", "host": "elsewhere"})
    answer = hpc_dl("resume", run.name, "trainer.max_epochs=2")
    assert (answer.status, "name one with --site" in answer.err.lower()) == (2, True)
    assert read_state(run)["state"] == "finished"


def test_the_code_of_the_first_start_goes_on_unless_told_otherwise(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    assert hpc_dl("train", config()).status == 0
    run = the_run()
    (run.code / "hpc_dl" / "training" / "train.py").write_text("raise RuntimeError('the snapshot was run')\n")
    answer = hpc_dl("resume", run.name, "trainer.max_epochs=2")
    assert (answer.status, read_state(run)["reason"]) == (1, "RuntimeError: the snapshot was run")
    assert hpc_dl("resume", run.name, "--update-code").status == 0
    assert read_state(run)["state"] == "finished"
    assert len(list(run.path.glob("code-until-*"))) == 1
