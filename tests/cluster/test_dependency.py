"""Runs that start after others: what Slurm is asked for, and when a run cannot start."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import dependency, slurm
from hpc_dl.cluster.container import python_in_container
from hpc_dl.cluster.rank_process import run_rank
from hpc_dl.cluster.site import Container
from hpc_dl.cluster.status import status
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ClusterError, HpcDlError, RunError
from hpc_dl.runs import predecessors
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import State, read_state, write_state
from tests.cluster.conftest import Desk, wait_until
from tests.cluster.slurm_reports import JOB, slurm_reports


def a_run(runs: Path, name: str, state: State | None = None, **job: Any) -> RunFolder:
    run = RunFolder.create_at(runs / name)
    run.config.write_text("name: x\n")
    write_json(run.job, JOB | job)
    if state:
        write_state(run, state, **({"reason": "ValueError: x"} if state == "failed" else {}))
    return run


@pytest.mark.parametrize(
    ("jobs", "options", "expected"),
    [
        ([{"job_id": "11"}], {}, {"dependency": "afterok:11"}),
        ([{"job_id": "11_3"}, {"job_id": "12"}], {}, {"dependency": "afterok:11_3,afterok:12"}),
        ([{"job_id": "11_3", "members": 2}], {}, {"dependency": "afterany:11_3"}),
        ([{"job_id": "11_3"}, {"job_id": "11_3"}], {}, {"dependency": "afterok:11_3"}),
        ([{"job_id": "11"}], {"dependency": "singleton"}, {"dependency": "singleton,afterok:11"}),
        (
            [{"job_id": "11", "cluster": "beta"}],
            {"clusters": "alpha,beta"},
            {"dependency": "afterok:11", "clusters": "beta"},
        ),
        ([{"job_id": "11"}], {"clusters": "home"}, {"dependency": "afterok:11", "clusters": "home"}),
    ],
)
def test_options_of_sbatch(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    jobs: list[dict[str, Any]],
    options: dict[str, str | None],
    expected: dict[str, str],
) -> None:
    monkeypatch.setattr(slurm, "local_cluster", lambda: "home")
    earlier = [a_run(tmp_path, f"r{number}", **job) for number, job in enumerate(jobs)]
    assert dependency.sbatch_options(earlier, options) == {**expected, "kill-on-invalid-dep": "yes"}


@pytest.mark.parametrize(
    ("jobs", "options", "problem"),
    [
        ([{"job_id": "11", "cluster": "beta"}], {}, "runs on another cluster"),
        ([{"job_id": "11"}], {"clusters": "alpha"}, "runs on another cluster"),
        ([{"job_id": "11", "cluster": "a"}, {"job_id": "12", "cluster": "b"}], {"clusters": "a,b"}, "another cluster"),
        ([{"job_id": None, "pid": 1, "process_started": 1.0}], {}, "is not a Slurm job"),
    ],
)
def test_a_job_that_cannot_be_waited_for_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: list[dict[str, Any]], options: dict[str, str], problem: str
) -> None:
    monkeypatch.setattr(slurm, "local_cluster", lambda: "home")
    earlier = [a_run(tmp_path, f"r{number}", **job) for number, job in enumerate(jobs)]
    with pytest.raises(ClusterError, match=problem):
        dependency.sbatch_options(earlier, options)


def test_finished_runs_need_no_dependency_and_failed_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm_reports(monkeypatch, slurm.JobInfo("RUNNING"))
    finished, running, failed = (a_run(tmp_path, state, state) for state in ("finished", "running", "failed"))
    assert dependency.unfinished([finished, a_run(tmp_path, "pruned", "pruned")]) == []
    assert dependency.unfinished([finished, running]) == [running]
    with pytest.raises(RunError) as caught:
        dependency.unfinished([running, failed])
    assert [str(fault) for fault in caught.value.faults] == [
        "failed: cannot be waited for: it is failed: ValueError: x. Resume it first, or start without it"
    ]


@pytest.mark.parametrize(("info", "waits"), [(("PENDING", "BeginTime"), True), (("FAILED", ""), False), (None, True)])
def test_a_stopped_run_counts_if_it_may_be_requeued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: tuple[str, str] | None, waits: bool
) -> None:
    slurm_reports(monkeypatch, *([slurm.JobInfo(*info)] if info else []))
    run = a_run(tmp_path, "a")
    write_state(run, "stopped", step=3, reason="warned of its time limit")
    if waits:
        assert dependency.unfinished([run]) == [run]
    else:
        with pytest.raises(RunError, match="it is stopped: warned of its time limit"):
            dependency.unfinished([run])


def chain(runs: Path, *states: State | None) -> list[RunFolder]:
    """Runs that each wait for the one before."""
    made = [a_run(runs, f"r{number}", state) for number, state in enumerate(states)]
    for before, run in itertools.pairwise(made):
        predecessors.record(run, [before])
    return made


@pytest.mark.parametrize(
    ("info", "first", "state", "reason"),
    [
        (("PENDING", "Dependency"), "running", "pending", "waits for r1 (Dependency)"),
        (("CANCELLED", "DependencyNeverSatisfied"), "failed", "cancelled", "not started: r0 failed: ValueError: x"),
        (("CANCELLED", ""), "running", "cancelled", "with Slurm's scancel, or by an administrator"),
    ],
)
def test_status_says_what_a_run_waits_for_and_why_it_did_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, info: tuple[str, str], first: State, state: str, reason: str
) -> None:
    slurm_reports(monkeypatch, slurm.JobInfo(*info))
    last = chain(tmp_path, first, None, None)[-1]
    assert (status(last)["state"], status(last)["reason"]) == (state, reason)


def test_a_rank_does_not_start_after_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    last = chain(tmp_path, "failed", None)[-1]
    assert run_rank(last, redirect=False, checked=True) == 1
    assert read_state(last)["state"] == "cancelled"
    assert read_state(last)["reason"] == "not started: r0 failed: ValueError: x"
    assert "not started" in capfd.readouterr().err


def test_results_that_arrive_late_are_waited_for(tmp_path: Path) -> None:
    last = chain(tmp_path, "running", None)[-1]
    assert dependency.check_before_start(last, patience_s=0) == "not started: it still waits for r0"
    write_state(RunFolder(tmp_path / "r0"), "finished")
    assert dependency.check_before_start(last, patience_s=0) == ""


def test_a_container_sees_the_runs_that_are_waited_for(tmp_path: Path) -> None:
    first, last = chain(tmp_path / "runs", "running", None)
    experiment = Experiment.from_dict({"name": "x", "data": {"file": "/data/x.h5"}, "model": {"name": "linear"}})
    command = python_in_container(Container(image="/x.sif"), last, experiment, None)
    assert str(first.path) in [after for option, after in itertools.pairwise(command) if option == "--bind"]


def test_a_damaged_list_is_reported(tmp_path: Path) -> None:
    run = a_run(tmp_path, "r")
    write_json(run.after, ["../other"])
    with pytest.raises(HpcDlError, match="not a list of run folders"):
        dependency.check_before_start(run)


@pytest.mark.slow
def test_runs_in_the_background_wait_for_each_other(desk: Desk) -> None:
    own = ("model={class: own_model.Own, args: {slow_until: go}}", "optimizer={}", "trainer.max_epochs=1000")
    first = desk.json("submit", "tiny.yaml", *own, "--no-try")["run"]
    second = desk.json("submit", "tiny.yaml", "--after", first, "--no-try")["run"]
    third = desk.json("submit", "tiny.yaml", "--after", f"{second},{first}", "--no-try")["run"]
    assert [desk.json("status", name)[0]["reason"] for name in (second, third)] == [
        f"waits for {first}",
        f"waits for {second}, {first}",
    ]
    desk.run("cancel", first)
    wait_until(lambda: desk.json("status", third)[0]["state"] == "cancelled", "the chain has ended", 90)
    assert desk.json("status", third)[0]["reason"] == f"not started: {first} was cancelled"
    refused = desk.run("submit", "tiny.yaml", "--after", third, status=2).stderr.strip().splitlines()
    assert len(refused) == 1 and f"{third}: cannot be waited for: it is cancelled" in refused[0]
    (desk.folder / "go").touch()
    desk.run("resume", first, "--wait")
    desk.run("resume", second, "--wait")
