"""Creating the members of a sweep, and what stays where that fails or is repeated."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.submit import MaybeQueued
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError, ConfigError, RunError
from hpc_dl.regular_files import read_json
from hpc_dl.runs.import_folders import import_folders
from hpc_dl.runs.run_files import read_provenance
from hpc_dl.runs.state import write_state
from hpc_dl.schema import parse
from hpc_dl.sweeps import submission
from hpc_dl.sweeps.checks import Say
from hpc_dl.sweeps.config import SweepConfig
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.preparation import Plan, create, discard, plan, record
from hpc_dl.sweeps.ranking import objective_of, ranked
from hpc_dl.sweeps.start import start
from hpc_dl.sweeps.submission import write_tasks
from tests import experiments
from tests.cli.conftest import HpcDl
from tests.training import modules


def silent(line: str) -> None:
    pass


def planned(
    runs: Path,
    file: Path,
    *rates: float,
    objective: str = "val/loss",
    say: Say = silent,
    force: bool = False,
    **sections: Any,
) -> Plan:
    section = {"parameters": {"optimizer.lr": {"values": list(rates)}}, "objective": objective}
    config = parse(SweepConfig, section, "sweep")
    raw = experiments.raw(file, **sections)
    return plan(raw, "tiny", config, runs=runs, data_dir=None, say=say, force=force)


def made(plan: Plan) -> SweepFolder:
    create(plan, SiteProfile())
    return plan.sweep


@pytest.mark.slow
def test_saved_section_is_read_again(hpc_dl: HpcDl, tmp_path: Path, image_file: Path) -> None:
    section = {
        "method": "random", "trials": 3, "objective": "val/loss",
        "parameters": {"model.depth": {"int": [1, 4]}, "optimizer.lr": {"log_uniform": [0.01, 0.1]}},
    }  # fmt: skip
    config = parse(SweepConfig, section, "sweep")
    planned = plan(experiments.raw(image_file), "tiny", config, runs=tmp_path, data_dir=None, say=lambda line: None)
    sweep = made(planned)
    record(planned)
    assert parse(SweepConfig, yaml.load(sweep.config)["sweep"], "sweep") == config
    for number, run in enumerate(sweep.runs()):
        result = {"run": run.name, "state": "finished", "metrics": {"val/loss": 1.0 + number}, "steps": 4}
        write_json(run.result, result)
        write_state(run, "finished", step=4)
    best = hpc_dl("best", str(sweep.path), "--json")
    assert (best.status, best.json["ranking"][0]["values"]) == (0, [1.0])
    missing = hpc_dl("best", str(sweep.path), "--out", "missing/best.yaml")
    assert (missing.status, missing.err.count("hpc-dl: ")) == (2, 1)


def test_objective_of_unknown_direction_is_refused(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules.enter(monkeypatch)
    section = {"parameters": {"trainer.max_epochs": {"values": [1, 2]}}, "objective": "val/gain"}
    raw = experiments.raw(image_file, model={"class": "logs_all_splits.Net"})
    del raw["optimizer"]
    config = parse(SweepConfig, section, "sweep")
    with pytest.raises(ConfigError, match=r"sweep\.objective: it is not known whether lower or higher"):
        plan(raw, "tiny", config, runs=tmp_path, data_dir=None, say=lambda line: None, try_batches=False)
    assert not (tmp_path / "tiny-sweep").exists()


@pytest.mark.parametrize(("answer", "left"), [("Thank you", 2), ("sbatch: error: no; exit 1", 0)])
def test_members_stay_if_their_job_may_be_queued(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(f"#!/bin/sh\n>&2 echo {answer}\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    wanted = planned(tmp_path, image_file, 0.1, 0.2)
    with pytest.raises(MaybeQueued if left else ClusterError):
        start(wanted, SiteProfile(scheduler="slurm"), None)
    assert len(wanted.sweep.runs()) == left


def test_more_members_than_an_array_may_have_are_several_that_follow_each_other(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbatch = tmp_path / "sbatch"
    number = f"number=$(($(cat {tmp_path}/number 2>/dev/null) + 1)); echo $number >{tmp_path}/number"
    sbatch.write_text(
        f'#!/bin/bash\n{number}\ncp "${{@: -1}}" {tmp_path}/script-$number\necho Submitted batch job $number\n'
    )
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(submission, "largest_array", lambda: 2)
    wanted = planned(tmp_path, image_file, 0.1, 0.2, 0.3, 0.4, 0.5)
    wanted = replace(wanted, config=wanted.config.model_copy(update={"parallel": 2}))
    submitted = start(wanted, SiteProfile(scheduler="slurm"), None)
    assert [facts["job_id"] for facts in submitted.submissions] == ["1", "2", "3"]
    scripts = [(tmp_path / f"script-{number}").read_text() for number in (1, 2, 3)]
    assert [re.findall(r"--(?:array|dependency)=(.*)", script) for script in scripts] == [
        ["0-1"], ["0-1", "afterany:1"], ["0-0", "afterany:2"]
    ]  # fmt: skip
    jobs = [read_json(run.job)["job_id"] for run in wanted.sweep.runs()]
    assert jobs == ["1_0", "1_1", "2_0", "2_1", "3_0"]


def test_force_gives_members_another_run(tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file, 0.1, 0.2))
    first = set(sweep.members())
    again = planned(tmp_path, image_file, 0.1, 0.2, force=True)
    assert (again.existing, set(again.former), len(again.new)) == ([], first, 2)
    made(again)
    assert {name for name, facts in sweep.members().items() if facts.get("former")} == first
    assert len(sweep.members()) == 4, "the earlier runs stay"


def test_folder_that_has_run_is_never_replaced(tmp_path: Path, image_file: Path) -> None:
    first = planned(tmp_path, image_file, 0.1)
    (run,) = made(first).runs()
    write_state(run, "finished", step=4)
    for file in first.sweep.path.glob("members.json*"):
        file.unlink()
    with pytest.raises(RunError, match="has run, but tiny-sweep does not list it"):
        made(planned(tmp_path, image_file, 0.1))
    assert run.state.exists()


def test_members_that_another_command_creates_meanwhile_are_kept(tmp_path: Path, image_file: Path) -> None:
    first, second = (planned(tmp_path, image_file, 0.1) for _ in range(2))
    (run,) = made(first).runs()
    (run.path / "trained").touch()
    with pytest.raises(RunError, match="another command has just created 1 of these members"):
        made(second)
    assert (run.path / "trained").exists()


def test_discarding_leaves_what_is_not_of_the_sweep(tmp_path: Path, image_file: Path) -> None:
    plan = planned(tmp_path, image_file, 0.1)
    sweep = made(plan)
    discard(plan)
    assert not sweep.path.exists()
    (sweep.path / "notes").mkdir(parents=True)
    made(plan)
    discard(plan)
    assert [entry.name for entry in sweep.path.iterdir()] == ["notes"]


@pytest.mark.slow
def test_members_of_other_settings_are_not_ranked(tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file, 0.1))
    (former,) = sweep.members()
    made(planned(tmp_path, image_file, 0.1, trainer={"max_epochs": 2}))
    facts = [{"run": name, "metrics": {"val/loss": 1.0}} for name in sweep.members()]
    (best,) = ranked(sweep, "val/loss", facts)
    assert len(facts) == 2 and former not in best.runs
    back = planned(tmp_path, image_file, 0.1, objective="val/accuracy")
    assert not back.new
    record(back)
    assert objective_of(sweep) == "val/accuracy"
    assert ranked(sweep, "val/loss", facts)[0].runs == [former]


@pytest.mark.parametrize(("name", "point"), [("../../other", {}), ("/etc", {}), ("a b", {}), ("x-1", [])])
def test_damaged_list_of_members(hpc_dl: HpcDl, tmp_path: Path, name: str, point: Any) -> None:
    sweep = SweepFolder(tmp_path / "x-sweep")
    sweep.path.mkdir()
    sweep.config.write_text("sweep: {}\n")
    write_json(sweep.member_list, {name: {"signature": "1", "point": point, "seed": 0}})
    with pytest.raises(RunError, match="is not a list of members"):
        sweep.runs()
    answer = hpc_dl("status", "--runs", tmp_path)
    assert answer.status == 0 and "x-sweep (unreadable)" in answer.err
    assert "no run" in hpc_dl("logs", "y", "--runs", tmp_path).err.lower()


@pytest.mark.slow
def test_own_code_of_all_members_is_in_one_snapshot(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("net_a", "net_b"):
        lines = "from torch import nn", "def net(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))"
        (tmp_path / f"{name}.py").write_text("\n".join(lines))
    raw = experiments.raw(image_file, model={"network": "net_a.net"})
    section = {"parameters": {"model.network": {"values": ["net_a.net", "net_b.net"]}}}
    config = parse(SweepConfig, section, "sweep")

    def planned() -> Plan:
        return plan(raw, "tiny", config, runs=tmp_path / "runs", data_dir=None, say=lambda line: None)

    sweep = made(planned())
    (code,) = {run.code.resolve() for run in sweep.runs()}
    assert (code / "net_a.py").exists() and (code / "net_b.py").exists()
    (tmp_path / "net_b.py").write_text((tmp_path / "net_b.py").read_text() + "\n")
    assert [new.member.point for new in planned().new] == [{"model.network": "net_b.net"}]


def test_job_array_finds_own_code_where_the_members_were_prepared(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    monkeypatch.chdir(project)
    sweep = made(planned(tmp_path, image_file, 0.1))
    (run,) = sweep.runs()
    array = sweep.new_array()
    monkeypatch.chdir(tmp_path)  # where it is resumed
    write_tasks(array, [[run.name]], run)
    own = Experiment.from_dict(experiments.raw(image_file, model={"network": "net.make"}))
    assert import_folders(array, own) == (str(array.code), str(project))


def test_submissions_are_numbered_whatever_else_is_among_them(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "tiny-sweep")
    for name in ("1", "2x", "03", "2"):
        (sweep.arrays / name).mkdir(parents=True)
    assert sweep.new_array().path.name == "3"
    assert sorted(array.path.name for array in sweep.submissions()) == ["1", "2", "3"]


@pytest.mark.slow
def test_fault_of_one_sweep_does_not_keep_others_from_being_cancelled(
    hpc_dl: HpcDl, tmp_path: Path, image_file: Path
) -> None:
    runs = Path.cwd() / "runs"
    for name in ("one", "other"):
        made(planned(runs, image_file, 0.1, 0.2, name=name))
    damaged, intact = SweepFolder.of(runs, "one"), SweepFolder.of(runs, "other")
    first, second = damaged.runs()
    first.job.write_text("{")
    result = hpc_dl("cancel", damaged.name, intact.name, "--json")
    assert result.status == 2 and str(first.job) in result.err
    assert "other-sweep: stop requested for 2 of 2 members" in result.err
    assert [run.cancelled.exists() for run in (first, second, *intact.runs())] == [False, True, True, True]
    states = {row["run"]: row["state"] for row in result.json}
    assert states[first.name] == "unreadable" and states[intact.runs()[0].name] == "cancelled"


def test_folder_of_another_layout_is_refused_in_one_line(hpc_dl: HpcDl, tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file, 0.1))
    before = sweep.member_list.read_bytes()
    sweep.layout.write_text("0\n")
    with pytest.raises(RunError, match=r"another version of hpc_dl .*layout 0.*allowed: layout 1"):
        planned(tmp_path, image_file, 0.2)
    for command in ("status", "best", "cancel", "resume"):
        answer = hpc_dl(command, sweep.name, "--runs", tmp_path)
        assert (answer.status, answer.err.count("\n")) == (2, 1), answer.err
        assert "another version of hpc_dl" in answer.err
    assert hpc_dl("status", "--runs", tmp_path).status == 0, "the other sweeps and runs are shown"
    assert sweep.member_list.read_bytes() == before


def test_members_of_another_commit_are_reported_in_one_line_and_stay(tmp_path: Path, image_file: Path) -> None:
    sweep = made(planned(tmp_path, image_file, 0.1, 0.2))
    said: list[str] = []
    assert not planned(tmp_path, image_file, 0.1, 0.2, say=said.append).new
    assert not [line for line in said if "version" in line]
    for run in sweep.runs():
        facts = read_provenance(run)
        write_json(run.provenance, facts | {"git": {"hpc_dl": {"commit": "1234567890", "dirty": False}}})
    again = planned(tmp_path, image_file, 0.1, 0.2, 0.3, say=said.append)
    assert (len(again.new), len(again.existing)) == (1, 2)
    (line,) = (line for line in said if "version" in line)
    assert line.startswith("2 of the 2 members that exist are of another version of hpc_dl: ")
    assert "(commit 1234567); now it is " in line
