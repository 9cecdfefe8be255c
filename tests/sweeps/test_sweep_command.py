"""``hpc-dl sweep`` without Slurm: what it refuses, what it prints, and what it runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.cluster.status import statuses
from hpc_dl.regular_files import read_json
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.search import all_runs
from hpc_dl.sweeps.folder import SweepFolder
from tests.cli.conftest import HpcDl
from tests.cluster.conftest import wait_until

Config = Callable[..., Path]
SWEEP: dict[str, Any] = {"parameters": {"optimizer.lr": {"values": [0.1, 0.01]}}}
LOCAL = ("--site", "local")


def the_sweep() -> SweepFolder:
    return SweepFolder((Path.cwd() / "runs" / "tiny-sweep").absolute())


def wait_for(sweep: SweepFolder) -> list[dict[str, Any]]:
    ended = ("finished", "failed", "cancelled", "stopped")
    wait_until(lambda: all(row["state"] in ended for row in statuses(sweep.runs())), "all members have ended", 240)
    return statuses(sweep.runs())


def test_dry_run_prints_script_and_members_and_writes_nothing(hpc_dl: HpcDl, config: Config) -> None:
    result = hpc_dl("sweep", config(sweep={**SWEEP, "parallel": 1, "repeats": 2}), "--dry-run")
    assert result.status == 0, result.err
    assert "#SBATCH --array=0-3%1\n" in result.out
    assert "optimizer.lr=0.01" in result.out
    assert "tiny-sweep: 4 members, 4 of them new, 1 different models checked" in result.err
    assert not (Path.cwd() / "runs").exists()


def test_task_of_side_by_side_members_requests_the_sum_of_what_they_need(hpc_dl: HpcDl, config: Config) -> None:
    section = {**SWEEP, "repeats": 4, "per_task": 4, "side_by_side": True, "parallel": 4}
    path = config(sweep=section, resources={"gpus_per_node": 1, "cpus_per_gpu": 2, "memory": "3G"})
    script = hpc_dl("sweep", path, "--dry-run").out
    for line in ("array=0-1%1", "cpus-per-task=8", "mem=12288M", "gpus-per-node=1"):
        assert f"#SBATCH --{line}\n" in script
    refused = hpc_dl("sweep", path, "resources.gpus_per_node=2", "--dry-run")
    assert refused.status == 2 and "sweep.side_by_side: runs of several ranks cannot share a GPU" in refused.err


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (None, "has no `sweep` section"),
        ({"parameters": {"optimizer.rate": {"values": [1]}}}, "optimizer.rate (with optimizer.rate=1): unknown key"),
        ({"parameters": {"model.name": {"values": ["linear", "lstm"]}}}, "model.name (with model.name=lstm)"),
        ({**SWEEP, "objective": "val/height"}, "sweep.objective: is not a metric of this task"),
        ({"parameters": {"optimizer.lr": {"values": []}}}, "sweep.parameters.optimizer.lr.values: must"),
        ("grid", "sweep: must be"),
    ],
)
def test_invalid_sweep_is_one_line_and_leaves_nothing(
    hpc_dl: HpcDl, config: Config, sweep: dict[str, Any] | str | None, message: str
) -> None:
    result = hpc_dl("sweep", config(**({"sweep": sweep} if sweep else {})), *LOCAL)
    assert result.status == 2
    lines = [line for line in result.err.splitlines() if line.startswith("hpc-dl: ")]
    assert len(lines) == 1 and message in lines[0], result.err
    assert not (Path.cwd() / "runs").exists()


def test_other_commands_ignore_the_section(hpc_dl: HpcDl, config: Config) -> None:
    assert hpc_dl("validate", config(sweep=SWEEP)).status == 0


@pytest.mark.slow  # starts processes that train
def test_sweep_runs_only_what_is_new_and_equals_single_runs(hpc_dl: HpcDl, config: Config) -> None:
    trainer = {"max_epochs": 1, "figures": True}
    path = config(sweep=SWEEP, trainer=trainer, resources={"cpus_per_gpu": 1, "gpus_per_node": 0})
    assert hpc_dl("sweep", path, *LOCAL).status == 0
    sweep = the_sweep()
    assert [row["state"] for row in wait_for(sweep)] == ["finished", "finished"]
    first = sweep.runs()
    assert not any(run.figures.exists() or run.frames.exists() for run in first)

    again = hpc_dl("sweep", path, *LOCAL)
    assert again.status == 0 and "2 members, 0 of them new" in again.err
    more = hpc_dl("sweep", path, "sweep.repeats=2", *LOCAL, "--json").json
    assert (len(more["new"]), sorted(more["existing"])) == (2, sorted(run.name for run in first))
    wait_for(sweep)
    assert {facts["seed"] for facts in sweep.members().values()} == {7, 8}

    member = next(run for run in first if sweep.members()[run.name]["point"] == {"optimizer.lr": 0.01})
    assert hpc_dl("train", path, "optimizer.lr=0.01").status == 0
    (single,) = all_runs(Path.cwd() / "runs")
    assert differences(single, member) == []

    assert hpc_dl("status").err.count("tiny-sweep (4)") == 1
    summary = hpc_dl("status", "tiny-sweep").err
    assert "4 runs: 4 finished; best val/loss so far" in summary
    assert len(hpc_dl("results", "tiny-sweep", "--json").json) == 4
    assert hpc_dl("logs", member.name).status == 0
    best = hpc_dl("best", "tiny-sweep", "--json").json
    assert len(best["ranking"]) == 2 and "sweep" not in best["experiment"]
    files = [file for file in member.path.rglob("*") if file.is_file() and not file.is_symlink()]
    assert len(files) < 30
    assert hpc_dl("resume", "tiny-sweep").status == 0, "nothing to resume"


@pytest.mark.slow  # starts processes that train
def test_cancelled_members_are_resumed_together(hpc_dl: HpcDl, config: Config) -> None:
    path = config(sweep=SWEEP, trainer={"max_epochs": 5000}, resources={"cpus_per_gpu": 1, "gpus_per_node": 0})
    assert hpc_dl("sweep", path, "sweep.parallel=1", *LOCAL).status == 0
    sweep = the_sweep()
    wait_until(lambda: any(row["state"] == "running" for row in statuses(sweep.runs())), "one runs", 120)
    assert "stop requested for 2 of 2 members" in hpc_dl("cancel", "tiny-sweep").err
    assert [row["state"] for row in wait_for(sweep)] == ["cancelled", "cancelled"]
    assert "has no members that failed or were lost" in hpc_dl("resume", "tiny-sweep", "--failed").err
    assert "Submitted 2 of 2 members" in hpc_dl("resume", "tiny-sweep").err
    wait_until(lambda: any(row["state"] == "running" for row in statuses(sweep.runs())), "one runs again", 120)
    assert hpc_dl("cancel", "tiny-sweep").status == 0
    assert all(read_json(run.cancelled)["by"] for run in sweep.runs())


def test_only_sweeps_have_members_that_failed(hpc_dl: HpcDl, config: Config) -> None:
    assert "is not a sweep" in hpc_dl("best", "nothing").err
