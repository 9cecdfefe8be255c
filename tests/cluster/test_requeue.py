"""The end of the batch script: what Slurm reports about the job decides about the requeue."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import requeue
from hpc_dl.regular_files import read_json
from hpc_dl.runs import state
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state

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


@pytest.mark.parametrize(("status", "earlier", "requeued"), [(140, 0, True), (138, 4, True), (140, 5, False)])
def test_ranks_that_a_warning_ended_before_they_could_handle_it(
    run: RunFolder, status: int, earlier: int, requeued: bool
) -> None:
    """They are requeued, but not forever."""
    (run.path / "warned-early").write_text("7\n" * earlier)
    done = end_of_script(run, _RUNNING, cause=None, state="running", status=status)
    assert done == (75 if requeued else status, requeued)


def test_state_of_an_earlier_attempt_is_replaced_before_the_ranks_start(run: RunFolder) -> None:
    facts = {"state": "stopped", "attempt": 2, "reason": 'it was "stopped"'}
    write_json(run.state, facts)
    subprocess.run(["bash", "-c", "\n".join(requeue.setup_lines(run))], check=True, timeout=30)
    assert read_json(run.state) == facts | {"state": "running"}
    write_json(run.state, {"state": "finished"})
    subprocess.run(["bash", "-c", "\n".join(requeue.setup_lines(run))], check=True, timeout=30)
    assert read_json(run.state) == {"state": "finished"}


def test_state_written_in_place_on_a_full_disk_is_understood(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(run, "running")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state, "write_json", full)
    write_state(run, "stopped", step=3)
    script = f"run={shlex.quote(str(run.path))}\n{requeue.STATE_IS}\nstate_is 'failed|stopped'"
    subprocess.run(["bash", "-c", script], check=True, timeout=30)


def test_signals_are_handled_before_the_imports_of_a_rank() -> None:
    code = """
import os, runpy, signal, sys
class Report:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("hpc_dl.cluster.") and name != "hpc_dl.cluster.rank_process":
            print(name, signal.getsignal(signal.SIGUSR2) is not signal.SIG_DFL, "pydantic" in sys.modules, flush=True)
            os._exit(0)
sys.meta_path.insert(0, Report())
runpy.run_module("hpc_dl.cluster.rank_process", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "hpc_dl.cluster.child_processes True False\n"


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
