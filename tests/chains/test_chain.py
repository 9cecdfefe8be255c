"""Chains: checked as a whole, submitted as a whole; a step gets the model of the one before."""

import json
from pathlib import Path

import pytest

from hpc_dl.chains.config import read
from hpc_dl.chains.plan import PlannedStep, plan
from hpc_dl.chains.submission import submit
from hpc_dl.cluster import background
from hpc_dl.cluster.site import Limits, SiteProfile
from hpc_dl.cluster.submit import MaybeQueued
from hpc_dl.config import yaml
from hpc_dl.errors import ClusterError, ConfigError
from hpc_dl.inference.model_task import ModelTask
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import read_state
from tests.cluster.conftest import Desk, command, desk, digits_folder, wait_until

__all__ = ["command", "desk", "digits_folder"]

CHAIN = """
steps:
  pretrain: {train: tiny.yaml}
  finetune: {train: tiny.yaml, set: {model.init_from: "@pretrain", optimizer.lr: 1.0e-4}}
  test: {evaluate: finetune, split: val, resources: {time: 2}}
  onnx: {export: finetune, out: model.onnx}
"""


def planned(desk: Desk, data_dir: Path, text: str, site: SiteProfile | None = None) -> list[PlannedStep]:
    path = desk.folder / "mine.yaml"
    path.write_text(text)
    return plan(
        read(path), desk.folder, site or SiteProfile(), runs=desk.runs, data_dir=data_dir, say=lambda line: None
    )


@pytest.mark.parametrize(
    ("text", "site", "message"),
    [
        (CHAIN.replace("1.0e-4", "fast"), None, "steps.finetune: optimizer.lr"),
        (CHAIN.replace("split: val", "split: night"), None, "steps.test: split: the data have no such split"),
        (CHAIN.replace("time: 2", "gpus_per_node: 2"), None, "steps.test: resources: an evaluation or export uses one"),
        (CHAIN.replace("model.onnx", "tiny.yaml"), None, "steps.onnx: tiny.yaml: already exists"),
        (
            CHAIN.replace("1.0e-4", "1.0e-4, model: {name: mlp, width: 8}").replace(
                "model.init_from", "model.init_from"
            ),
            None,
            "matches this model",
        ),
        (CHAIN, SiteProfile(limits=Limits(time=1)), "steps.pretrain: resources.time: more time than this site allows"),
    ],
)
def test_all_steps_are_checked_before_any_is_created(
    desk: Desk, digits_folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, site: SiteProfile | None, message: str
) -> None:
    monkeypatch.chdir(desk.folder)
    with pytest.raises(ConfigError) as caught:
        planned(desk, digits_folder, text, site)
    assert any(message in str(fault) for fault in caught.value.faults), caught.value
    assert list(all_runs(desk.runs)) == []


@pytest.mark.slow
def test_a_refused_step_leaves_nothing(
    desk: Desk, digits_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The third submission fails: the first two are cancelled."""
    steps = planned(desk, digits_folder, CHAIN)
    fake_slurm(tmp_path, monkeypatch, third='{ echo "sbatch: error: no" >&2; exit 1; }')
    with pytest.raises(ClusterError, match="sbatch: no"):
        submit(steps, SiteProfile(scheduler="slurm"), runs=desk.runs, data_dir=digits_folder, command=["x"])
    dependencies = (tmp_path / "dependencies").read_text().splitlines()
    assert dependencies == ["#SBATCH --dependency=afterok:1", "#SBATCH --dependency=afterok:2"]
    assert sorted((tmp_path / "cancelled").read_text().split()) == ["1", "2"]
    assert list(all_runs(desk.runs)) == []


def test_a_step_that_may_be_queued_keeps_its_folder(
    desk: Desk, digits_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    steps = planned(desk, digits_folder, CHAIN)
    fake_slurm(tmp_path, monkeypatch, third='echo "Thank you"')
    with pytest.raises(MaybeQueued):
        submit(steps, SiteProfile(scheduler="slurm"), runs=desk.runs, data_dir=digits_folder, command=["x"])
    (run,) = all_runs(desk.runs)
    assert ModelTask.of(run) is not None and "may be queued" in read_state(run)["reason"]
    assert sorted((tmp_path / "cancelled").read_text().split()) == ["1", "2"]


def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, third: str) -> None:
    """Commands of a Slurm that accepts two jobs; the shell command ``third`` answers the next."""
    programs = tmp_path / "fake"
    programs.mkdir()
    (programs / "sbatch").write_text(
        f"#!/bin/bash\necho x >>{tmp_path}/count\nn=$(wc -l <{tmp_path}/count)\n"
        f'grep -h "^#SBATCH --dependency" "${{@: -1}}" >>{tmp_path}/dependencies\n'
        f'((n < 3)) && echo "Submitted batch job $n" || {third}\n'
    )
    (programs / "scancel").write_text(f'#!/bin/bash\necho "$@" >>{tmp_path}/cancelled\n')
    (programs / "squeue").write_text(
        f"#!/bin/bash\nfor n in 1 2; do grep -qx $n {tmp_path}/cancelled 2>/dev/null && s=CANCELLED || s=PENDING; "
        'echo "$n|$s|None"; done\n'
    )
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")


@pytest.mark.slow
def test_runs_of_a_chain_name_each_other(desk: Desk, digits_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk.folder)
    monkeypatch.setattr(background, "start", lambda run, experiment, site: {"pid": 1})
    monkeypatch.setattr("hpc_dl.cluster.dependency.unfinished", list)  # nothing has been launched
    steps = planned(desk, digits_folder, CHAIN)
    site = SiteProfile(scheduler="local")
    pretrain, finetune, test, onnx = (
        run for run, _ in submit(steps, site, runs=desk.runs, data_dir=digits_folder, command=["x"])
    )
    assert yaml.load(finetune.config)["model"]["init_from"] == str(pretrain.best_checkpoint)
    assert yaml.load(test.config)["resources"]["time"] == 2
    assert ModelTask.of(test) == ModelTask(finetune.path, split="val")
    assert ModelTask.of(onnx) == ModelTask(finetune.path, out=desk.folder / "model.onnx")
    assert ModelTask.of(finetune) is None
    assert read_json(onnx.after) == [str(finetune.path)]


@pytest.mark.slow
def test_a_chain_in_the_background(desk: Desk) -> None:
    (desk.folder / "mine.yaml").write_text(CHAIN)
    rows = desk.json("chain", "mine.yaml")
    names = [row["run"] for row in rows]
    assert [row["after"] for row in rows] == ["", "pretrain", "finetune", "finetune"]

    def states() -> list[str]:
        return [row["state"] for row in desk.json("status", *names)]

    wait_until(lambda: states() == ["finished"] * 4, "all steps have finished", 120)
    _, finetune, test, _ = (RunFolder(desk.runs / name) for name in names)
    assert "Starting from 2 of 2 weights" in finetune.log(0).read_text()
    evaluation = json.loads((finetune.path / "evaluation-val.json").read_text())
    assert read_json(test.result)["metrics"]["val/loss"] == evaluation["metrics"]["loss"]
    assert (desk.folder / "model.onnx").stat().st_size > 0
