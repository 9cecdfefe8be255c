"""Sweeps whose points are chosen when their tasks start: refused, chosen, recorded, pruned."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.status import statuses
from hpc_dl.config import yaml
from hpc_dl.errors import RunError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.schema import parse
from hpc_dl.studies.trial_file import JOURNAL, read_trial
from hpc_dl.sweeps.adaptive import probes, propose
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.preparation import Plan, create, plan
from hpc_dl.sweeps.ranking import ranked
from hpc_dl.training.stopping.pruning import pruning_of
from tests import experiments
from tests.cli.conftest import HpcDl
from tests.cluster.conftest import wait_until

PARAMETERS: dict[str, Any] = {
    "optimizer.lr": {"log_uniform": [1e-3, 1e-1]},
    "model.name": {"values": ["mlp", "linear"]},
    "model.depth": {"values": [1, 2], "when": {"model.name": "mlp"}},
}
TPE: dict[str, Any] = {"method": "tpe", "parameters": PARAMETERS, "trials": 3}
ASHA = {**TPE, "method": "asha"}
LOCAL = ("--site", "local")
Config = Callable[..., Path]


def planned(runs: Path, file: Path, **section: Any) -> Plan:
    config = parse(SweepConfig, {**TPE, **section}, "sweep")
    content = experiments.raw(file, trainer={"max_epochs": 1, "figures": True})
    return plan(content, "tiny", config, runs=runs, data_dir=None, say=lambda line: None)


def made(plan: Plan) -> SweepFolder:
    create(plan, SiteProfile())
    return plan.sweep


def finish(run: RunFolder, loss: float) -> None:
    write_json(run.result, {"metrics": {"val/loss": loss}})
    write_state(run, "finished")


def study(sweep: SweepFolder) -> optuna.Study:
    """As Optuna's own tools open it."""
    storage = JournalStorage(JournalFileBackend(str(sweep.path / JOURNAL)))
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "asha", "repeats": 2}, "method asha needs repeats: 1"),
        ({"trials": None}, "method tpe needs trials"),
        ({"parameters": {"data.file": {"values": ["a.h5"]}}}, "method tpe cannot vary data.file"),
        (
            {"parameters": {"optimizer.rate": {"uniform": [0, 1]}}},
            "optimizer.rate (with optimizer.rate=0): unknown key",
        ),
        ({"parameters": {"model.name": {"values": ["mlp", "lstm"]}}}, "model.name (with model.name=lstm)"),
        ({"parameters": {"optimizer.lr": {"values": [1], "when": {"model.nam": 1}}}}, "Did you mean 'model.name'?"),
        ({"objective": "val/height"}, "sweep.objective: is not a metric of this task"),
    ],
)
def test_invalid_sweep_is_one_line_and_leaves_nothing(
    hpc_dl: HpcDl, config: Config, changes: dict[str, Any], message: str
) -> None:
    section = {key: value for key, value in {**TPE, **changes}.items() if value is not None}
    result = hpc_dl("sweep", config(sweep=section), *LOCAL)
    assert result.status == 2
    lines = [line for line in result.err.splitlines() if line.startswith("hpc-dl: ")]
    assert len(lines) == 1 and message in lines[0], result.err
    assert not (Path.cwd() / "runs").exists()


def test_probes_contain_each_value_with_what_it_depends_on() -> None:
    config = parse(SweepConfig, TPE, "sweep")
    points = probes(config.parameters, {"model": {"name": "linear"}})
    assert {"optimizer.lr": 0.1, "model.name": "mlp", "model.depth": 1} in points
    assert {"optimizer.lr": 0.001, "model.name": "mlp", "model.depth": 2} in points
    assert {"optimizer.lr": 0.001, "model.name": "linear"} in points


@pytest.mark.slow
def test_member_gets_its_point_when_it_starts_and_keeps_it(tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file, repeats=2))
    first, second, *others = sweep.runs()
    assert len(others) == 4
    before = first.config.read_text()
    for run in (first, second, first):
        propose(run)
    assert first.config.read_text() != before
    one, other = (yaml.load(run.config) for run in (first, second))
    assert {**one, "seed": 8} == other, "two seeds of one point"
    assert not one["trainer"]["figures"] and not yaml.load(others[0].config)["trainer"]["figures"]
    trial = read_trial(first)
    assert trial is not None and trial.point is not None
    assert trial.point["optimizer.lr"] == one["optimizer"]["lr"] and one["data"]["file"] == str(image_file)
    assert ("model.depth" in trial.point) == (one["model"]["name"] == "mlp")
    assert sweep.members()[first.name]["point"] == trial.point
    assert sweep.members()[others[0].name]["point"] == {}


@pytest.mark.slow
def test_study_learns_the_mean_of_the_seeds_from_the_run_folders(tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file, repeats=2))
    runs = sweep.runs()
    for run in runs:
        propose(run)
    finish(runs[0], 1.0)
    propose(runs[0])
    assert [trial.state.name for trial in study(sweep).trials] == ["RUNNING"] * 3, "one seed still trains"
    finish(runs[1], 2.0)
    write_state(runs[2], "diverged")
    write_state(runs[3], "failed")
    write_state(runs[4], "failed")
    write_state(runs[5], "failed")
    propose(runs[0])
    ends = [(trial.state.name, trial.value) for trial in study(sweep).trials]
    assert ends == [("COMPLETE", 1.5), ("PRUNED", None), ("FAIL", None)]
    finish(runs[4], 0.5)  # by hpc-dl resume --failed
    propose(runs[0])
    assert study(sweep).best_value == 0.5
    assert ranked(sweep, "val/loss", [{"run": runs[4].name, "metrics": {"val/loss": 0.5}}])[0].values == [0.5]


@pytest.mark.slow
def test_more_trials_continue_the_study_and_other_values_begin_another(tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file))
    more = planned(tmp_path, image_file, trials=5, repeats=2)
    assert (len(more.new), len(more.existing), more.former) == (7, 3, [])
    propose(made(more).runs()[0])
    other = planned(tmp_path, image_file, parameters={"optimizer.lr": {"uniform": [0.1, 0.2]}})
    assert (len(other.new), len(other.former)) == (3, 10)
    propose(made(other).runs()[-1])
    storage = JournalStorage(JournalFileBackend(str(sweep.path / JOURNAL)))
    assert len(optuna.get_all_study_names(storage)) == 2


def test_dry_run_shows_when_points_are_chosen(hpc_dl: HpcDl, config: Config) -> None:
    result = hpc_dl("sweep", config(sweep={**TPE, "trials": 60}), "--dry-run")
    assert result.status == 0, result.err
    assert "chosen by tpe when it starts" in result.out
    assert "#SBATCH --array=0-59%6\n" in result.out and result.out.count("hpc_dl.sweeps.adaptive") == 2
    assert not (Path.cwd() / "runs").exists()


@pytest.mark.slow
def test_member_without_a_point_is_not_trained(tmp_path: Path, image_file: Path) -> None:
    run = made(planned(tmp_path, image_file)).runs()[0]
    with pytest.raises(RunError, match="has no point of its sweep yet"):
        pruning_of(run, print, nullcontext)
    propose(run)
    assert pruning_of(run, print, nullcontext) is None, "tpe ends no member early"


@pytest.mark.slow
def test_members_of_an_earlier_study_still_choose_their_points(tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file))
    grid = parse(SweepConfig, {"parameters": {"optimizer.lr": {"values": [0.5]}}}, "sweep")
    made(plan(experiments.raw(image_file), "tiny", grid, runs=tmp_path, data_dir=None, say=print))
    former, *_, of_grid = sweep.runs()
    propose(of_grid)
    propose(former)
    assert (read_trial(of_grid), sweep.members()[of_grid.name]["point"]) == (None, {"optimizer.lr": 0.5})
    assert set(sweep.members()[former.name]["point"]) >= {"optimizer.lr", "model.name"}


@pytest.mark.slow  # starts processes that train
def test_tpe_sweep_trains_and_continues_with_more_trials(hpc_dl: HpcDl, config: Config) -> None:
    path = config(sweep=TPE, resources={"cpus_per_gpu": 1, "gpus_per_node": 0})
    submitted = hpc_dl("sweep", path, *LOCAL)
    assert submitted.status == 0, submitted.err
    sweep = SweepFolder((Path.cwd() / "runs" / "tiny-sweep").absolute())
    assert hpc_dl("sweep", path, "sweep.trials=4", *LOCAL).status == 0

    def all_recorded() -> bool:
        trials = study(sweep).trials
        return len(trials) == 4 and all(trial.state.name == "COMPLETE" for trial in trials)

    wait_until(lambda: {row["state"] for row in statuses(sweep.runs())} == {"finished"}, "all members finished", 240)
    wait_until(all_recorded, "the study knows all results", 90)
    best = json.loads(hpc_dl("best", "tiny-sweep", "--json").out)
    assert best["ranking"][0]["values"] == [study(sweep).best_value]


@pytest.mark.slow  # trains
def test_member_that_lags_is_pruned_with_its_checkpoint_and_can_be_resumed(hpc_dl: HpcDl, config: Config) -> None:
    parameters = {"optimizer.lr": {"values": [0.01]}}
    section = {"method": "asha", "parameters": parameters, "trials": 2, "reduction_factor": 2, "objective": "val/loss"}
    path = config(sweep=section, trainer={"max_epochs": 3}, resources={"cpus_per_gpu": 1, "gpus_per_node": 0})
    sweep = made_for(hpc_dl, path)
    leader, laggard = sweep.runs()
    propose(leader)
    opened = study(sweep)
    trial = optuna.trial.Trial(opened, opened.trials[0]._trial_id)
    trial.report(0.0, 1)
    opened.pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    assert not trial.should_prune()
    propose(laggard)
    result = hpc_dl("resume", laggard.name, "--here")
    assert result.status == 75 and "the run was pruned: ended by its sweep: it lags" in result.err
    state = read_state(laggard)
    assert (state["state"], state["step"]) == ("pruned", 6) and laggard.last_checkpoint.exists()
    assert not laggard.requeue.exists()
    (row,) = hpc_dl("status", laggard.name, "--json").json
    assert row["state"] == "pruned" and "lags behind" in row["reason"]
    assert "1 pruned" in hpc_dl("status", "tiny-sweep").err
    assert hpc_dl("resume", "tiny-sweep", "--failed").status == 0
    propose(laggard)
    assert [t.state.name for t in study(sweep).trials] == ["RUNNING", "PRUNED"]
    assert hpc_dl("resume", laggard.name, "--here").status == 0, "on request it trains to its end"


def made_for(hpc_dl: HpcDl, path: Path) -> SweepFolder:
    """The sweep of a file, of which nothing was submitted."""
    raw = yaml.load(path)
    config = parse(SweepConfig, raw.pop("sweep"), "sweep")
    return made(plan(raw, "tiny", config, runs=Path.cwd() / "runs", data_dir=None, say=lambda line: None))
