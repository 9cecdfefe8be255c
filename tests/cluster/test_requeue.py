"""The end of the batch script: what Slurm reports about the job decides about the requeue."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import requeue
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder

_RUNNING = "JobState=RUNNING Reason=None Restarts=0"
_REFUSAL = "Requested operation is presently disabled for job 7"


def end_of_script(
    run: RunFolder,
    report: str,
    *,
    cause: str | None,
    state: str = "stopped",
    status: int = 0,
    requeue_script: str = "",
    restarts: int = 0,
    job: dict[str, str] | None = None,
) -> tuple[int, bool]:
    """Run the end of the script with a fake ``scontrol``.

    Args:
        run: the run.
        report: output of ``scontrol show job``.
        cause: content of the requeue marker, if any.
        state: the run's own state.
        status: exit status of the ranks.
        requeue_script: shell code of ``scontrol requeue``.
        restarts: Slurm's restart count.
        job: the variables that identify the job.

    Returns:
        The exit status, and whether a requeue was requested.
    """
    if cause:
        run.requeue.write_text(f"{cause}\n")
    write_json(run.state, {"state": state})
    programs = run.path / "bin"
    programs.mkdir()
    requested = run.path / "requested"
    (programs / "scontrol").write_text(
        f"#!/bin/bash\nif [[ $1 == requeue ]]; then echo $2 >{shlex.quote(str(requested))}; {requeue_script}\n"
        f"else echo JobId=7 {shlex.quote(report)} Dependency=none; fi\n"
    )
    (programs / "scontrol").chmod(0o755)
    environment = {"PATH": f"{programs}:{os.environ['PATH']}", **(job or {"SLURM_JOB_ID": "7"})}
    environment |= {"SLURM_RESTART_COUNT": str(restarts)} if restarts else {}
    result = subprocess.run(
        requeue.teardown_command(run, status), env=environment, capture_output=True, text=True, timeout=30
    )
    assert result.stderr == ""
    assert not run.requeue.exists()
    return result.returncode, requested.exists()


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "it's $HOME; a b", "x")


@pytest.mark.parametrize(
    ("report", "cause", "requeued", "cancelled"),
    [
        (_RUNNING, "limit", True, False),
        (_RUNNING, "term", False, False),
        (f"{_RUNNING} PreemptTime=None", "term", False, False),
        (f"{_RUNNING} PreemptTime=2026-01-01T00:00:00", "term", True, False),
        ("JobState=COMPLETING Reason=None Restarts=1", "term", False, False),
        ("JobState=COMPLETING Reason=None Restarts=1", "limit", False, False),
        ("JobState=COMPLETING Reason=None Restarts=0", "term", False, True),
        ("JobState=COMPLETING Reason=None Restarts=0", "limit", False, True),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=0", "limit", True, False),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=0", "term", True, False),
        ("", "limit", True, False),
        ("", "term", False, False),
        (_RUNNING, None, False, False),
    ],
)
def test_requeue_after_a_stop(run: RunFolder, report: str, cause: str | None, requeued: bool, cancelled: bool) -> None:
    assert end_of_script(run, report, cause=cause) == (75, requeued)
    assert run.cancelled.exists() is cancelled
    if cancelled:
        assert read_json(run.cancelled)["by"] == "scancel"


def test_earlier_restarts_do_not_prevent_a_requeue(run: RunFolder) -> None:
    report = "JobState=RUNNING Reason=None Restarts=3"
    assert end_of_script(run, report, cause="limit", restarts=3) == (75, True)


@pytest.mark.parametrize(
    ("report", "requeued", "cancelled"),
    [
        (_RUNNING, False, False),
        (f"{_RUNNING} PreemptTime=2026-01-01T00:00:00", True, False),
        ("JobState=COMPLETING Reason=None Restarts=0", False, True),
        ("JobState=COMPLETING Reason=TimeLimit Restarts=0", False, False),
    ],
)
def test_requeue_of_killed_ranks(run: RunFolder, report: str, requeued: bool, cancelled: bool) -> None:
    status = 75 if requeued else 143
    assert end_of_script(run, report, cause=None, state="running", status=143) == (status, requeued)
    assert run.cancelled.exists() is cancelled


@pytest.mark.parametrize(
    ("state", "status", "exit_status"),
    [("failed", 1, 1), ("finished", 0, 0), ("finished", 140, 0), ("cancelled", 0, 0)],
)
def test_ended_runs_are_never_requeued(run: RunFolder, state: str, status: int, exit_status: int) -> None:
    preempted = f"{_RUNNING} PreemptTime=2026-01-01T00:00:00"
    assert end_of_script(run, preempted, cause=None, state=state, status=status) == (exit_status, False)


def test_refusal_of_slurm_is_saved(run: RunFolder) -> None:
    assert end_of_script(run, _RUNNING, cause="limit", requeue_script=f"echo '{_REFUSAL}' >&2; exit 1") == (75, True)
    assert requeue.refusal_file(run).read_text() == f"{_REFUSAL}\n"


def test_job_that_slurm_has_requeued_already(run: RunFolder) -> None:
    end_of_script(run, _RUNNING, cause="limit", requeue_script="echo 'Job is pending execution for job 7' >&2; exit 1")
    assert not requeue.refusal_file(run).exists()


def test_only_the_task_of_an_array_is_requeued(run: RunFolder) -> None:
    # Of the last task that Slurm starts, SLURM_JOB_ID is the number of the whole array.
    job = {"SLURM_JOB_ID": "11", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "1"}
    assert end_of_script(run, _RUNNING, cause="limit", job=job) == (75, True)
    assert (run.path / "requested").read_text() == "11_1\n"
