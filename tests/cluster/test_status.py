"""The status of a run: its own state combined with that of Slurm or of this machine."""

import os
import socket
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import slurm
from hpc_dl.cluster.folders import cli_name
from hpc_dl.cluster.requeue import refusal_file
from hpc_dl.cluster.resumable import check_resumable
from hpc_dl.cluster.status import cancel, status, statuses
from hpc_dl.errors import ClusterError, RunError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import State, write_state
from tests.cluster.slurm_reports import JOB, slurm_reports

_DETAILS: dict[str, dict[str, Any]] = {
    "failed": {"reason": "ValueError: x", "rank": 2, "log": "l"},
    "stopped": {"reason": "warned of its time limit", "step": 7},
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, "x")
    folder.config.write_text("name: x\n")
    return folder


@pytest.mark.parametrize(
    ("own", "slurm_state", "slurm_reason", "state", "reason"),
    [
        (None, "PENDING", "Priority", "pending", "other jobs are ahead of it in the queue (Priority)"),
        (None, "PENDING", "QOSMaxGRESPerUser", "pending", "you have reached a limit of the quality of service"),
        (None, "PENDING", "SomethingNew", "pending", "SomethingNew"),
        (None, "PENDING", "", "pending", "it waits in the queue"),
        (None, "RUNNING", "", "running", "the job is starting"),
        (None, "COMPLETING", "", "running", "the job is starting"),
        (None, "CANCELLED", "", "cancelled", "scancel"),
        (None, "FAILED", "NonZeroExitCode", "lost", "it failed without giving a reason"),
        ("running", "RUNNING", "", "running", ""),
        ("running", "TIMEOUT", "", "lost", "TIMEOUT: it reached its time limit before it could stop"),
        ("running", "OUT_OF_MEMORY", "", "lost", "increase resources.memory"),
        ("running", "NODE_FAIL", "", "lost", "a node failed; resume it with `hpc-dl resume /"),
        ("running", "COMPLETED", "", "lost", "it ended without a result"),
        ("running", "PENDING", "BeginTime", "pending", "a requeued job waits about two minutes"),
        ("running", slurm.FORGOTTEN, "", "lost", "Slurm no longer knows the job"),
        (
            "stopped",
            "PENDING",
            "BeginTime",
            "pending",
            "requeued, will resume at step 7: its earliest start time has not",
        ),
        ("stopped", "COMPLETING", "", "running", ""),
        ("stopped", "RUNNING", "", "running", ""),
        ("stopped", "CANCELLED", "", "cancelled", "scancel"),
        ("stopped", "FAILED", "", "stopped", "warned of its time limit; resume it with `hpc-dl resume /"),
        ("stopped", slurm.FORGOTTEN, "", "stopped", "resume it with `hpc-dl resume /"),
        ("failed", "COMPLETED", "", "failed", "ValueError: x"),
        ("finished", "FAILED", "", "finished", ""),
    ],
)
def test_own_state_and_slurm_state_combined(
    run: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
    own: State | None,
    slurm_state: str,
    slurm_reason: str,
    state: str,
    reason: str,
) -> None:
    write_json(run.job, JOB)
    if own:
        write_state(run, own, **_DETAILS.get(own, {}))
    slurm_reports(monkeypatch, slurm.JobInfo(slurm_state, slurm_reason))
    facts = status(run)
    assert facts["state"] == state
    if reason:
        assert reason in facts["reason"]
    else:
        assert "reason" not in facts
    assert facts["job"] == "Slurm job 7"


def test_refusal_of_a_requeue_is_reported(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "stopped", reason="warned of its time limit", step=7)
    refusal_file(run).write_text("Requested operation is presently disabled for job 7\n")
    slurm_reports(monkeypatch, slurm.JobInfo("FAILED"))
    assert status(run)["reason"] == (
        "warned of its time limit; Slurm refused to requeue it: Requested operation is presently disabled for job 7; "
        f"resume it with `hpc-dl resume {cli_name(run)}`"
    )


def test_killed_rank_suggests_to_resume(run: RunFolder) -> None:
    write_state(run, "failed", reason="rank 1 was killed by SIGKILL (often: out of memory)")
    assert status(run)["reason"].endswith(f"; resume it with `hpc-dl resume {cli_name(run)}`")


def test_state_is_kept_if_slurm_does_not_respond(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    slurm_reports(monkeypatch)
    facts = status(run)
    assert facts["state"] == "running"
    assert "did not respond" in facts["reason"]


@pytest.mark.parametrize(
    ("slurm_state", "state"), [("RUNNING", "running"), ("CANCELLED", "cancelled"), ("FAILED", "cancelled")]
)
def test_cancelled_run_when_its_job_has_ended(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, slurm_state: str, state: str
) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    write_json(run.cancelled, {"by": "me"})
    slurm_reports(monkeypatch, slurm.JobInfo(slurm_state))
    assert status(run)["state"] == state
    write_state(run, "failed", reason="SIGTERM")
    assert status(run)["state"] == "cancelled"


def test_progress_is_read_from_the_journal(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    (run.journal / "attempt-000.jsonl").write_text('{"from_step": 0}\n{"step": 9, "epoch": 1, "train/loss": 1.0}\n')
    slurm_reports(monkeypatch, slurm.JobInfo("RUNNING"))
    assert {"epoch": 1, "step": 9}.items() <= status(run).items()


def test_progress_ignores_the_row_of_the_test(run: RunFolder) -> None:
    rows = '{"attempt": 0, "from_step": 0}\n{"step": 16, "epoch": 1, "val/loss": 1.0}\n'
    run.journal.mkdir(exist_ok=True)
    (run.journal / "attempt-0.jsonl").write_text(rows + '{"step": 16, "epoch": 2, "test/loss": 1.0}\n')
    assert status(run)["epoch"] == 1


def test_process_is_identified_by_its_start_time(run: RunFolder) -> None:
    job = {"launcher": "local", "pid": os.getpid(), "host": socket.gethostname()}
    write_json(run.job, {**job, "process_started": psutil.Process().create_time()})
    assert status(run)["state"] == "running"
    write_json(run.job, {**job, "process_started": 0.0})
    assert status(run)["state"] == "lost"
    write_json(run.job, {**job, "process_started": 0.0, "host": "elsewhere"})
    write_state(run, "running")
    facts = status(run)
    assert (facts["state"], facts["reason"]) == ("running", "it runs on elsewhere; check there whether it is alive")


def test_many_runs_need_one_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queries: list[list[str]] = []
    monkeypatch.setattr(slurm, "query_jobs", lambda jobs: queries.append(sorted(map(str, jobs))) or {})  # type: ignore[func-returns-value]
    runs = [RunFolder.create(tmp_path, "x") for _ in range(5)]
    for number, run in enumerate(runs):
        write_json(run.job, {**JOB, "job_id": str(number)})
    write_state(runs[0], "finished")
    statuses(runs)
    assert queries == [["1", "2", "3", "4"]]


def test_cancel_of_ended_and_unlaunched_runs(run: RunFolder) -> None:
    with pytest.raises(RunError, match="was never launched"):
        cancel(run)
    write_state(run, "finished")
    assert cancel(run) is False
    assert not run.cancelled.exists()


def test_run_of_another_layout_is_unreadable(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "query_jobs", lambda ids: {} if not list(ids) else pytest.fail("Slurm was queried"))
    write_json(run.job, JOB)
    run.layout.unlink()
    run.state.write_text("not JSON")
    facts = status(run)
    assert facts == {
        "run": run.name,
        "dir": str(run.path),
        "state": "unreadable",
        "job": "",
        "submitted": None,
        "reason": "the run folder was written by another version of hpc_dl (got 'layout 1'; allowed: layout 2). "
        "Start a new run with `hpc-dl train` or `hpc-dl submit`",
    }


def test_run_may_be_listed_twice(run: RunFolder) -> None:
    assert [facts["run"] for facts in statuses([run, run])] == [run.name, run.name]


@pytest.mark.parametrize("own", [None, "running", "stopped"])
@pytest.mark.parametrize("slurm_state", ["DREAMING", "REVOKED", "LAUNCH_FAILED"])
def test_unclear_state_of_slurm_is_shown_and_prevents_a_second_job(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, own: State | None, slurm_state: str
) -> None:
    write_json(run.job, JOB)
    if own:
        write_state(run, own, **_DETAILS.get(own, {}))
    slurm_reports(monkeypatch, slurm.JobInfo(slurm_state))
    facts = status(run)
    assert facts["state"] == "unknown"
    assert facts["reason"].startswith(f"Slurm says {slurm_state}: ")
    with pytest.raises(RunError, match=f"may still be queued or running .*{slurm_state}"):
        check_resumable(run)


def test_killed_rank_names_the_memory(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    # Slurm 22.05.8 with task/cgroup. The job is FAILED, since only a step ran out of memory.
    text = (
        "slurmstepd-n2: error: Detected 1 oom-kill event(s) in StepId=26.0. Some of your processes may have been killed"
    )
    (run.submitit / "7_0_log.out").write_text(f"{text} by the cgroup out-of-memory handler.\n")
    slurm_reports(monkeypatch, slurm.JobInfo("FAILED", "NonZeroExitCode"))
    assert "increase resources.memory" in status(run)["reason"]


def test_cancel_fails_if_slurm_goes_on(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    slurm_reports(monkeypatch, slurm.JobInfo("RUNNING"))
    monkeypatch.setattr(slurm, "cancel", lambda jobs: dict.fromkeys(jobs, slurm.JobInfo("RUNNING")))
    with pytest.raises(ClusterError, match="accepted the request to cancel Slurm job 7, but still reports RUNNING"):
        cancel(run)
    assert not run.cancelled.exists()
    assert status(run)["state"] == "running"
