"""Queries to Slurm, whose commands are replaced by shell scripts."""

import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.cluster import slurm
from hpc_dl.cluster.accounting import allocations_of
from hpc_dl.cluster.job_id import JobId

WriteProgram = Callable[[str, str], None]


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteProgram:
    """Hide Slurm's commands; returns a function that writes a fake one."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    which = shutil.which
    monkeypatch.setattr("hpc_dl.cluster.slurm.shutil.which", lambda name: which(name, path=str(folder)))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(stat.S_IRWXU)

    return write


def test_sacct_reports_jobs_missing_in_squeue(programs: WriteProgram) -> None:
    programs("squeue", "echo '1|RUNNING|None'")
    programs("sacct", "echo '2|CANCELLED by 0|None'; echo '3|OUT_OF_MEMORY|OutOfMemory'")
    infos = slurm.query_jobs(map(JobId, ["1", "2", "3"]))
    assert {str(job): info.state for job, info in infos.items()} == {
        "1": "RUNNING",
        "2": "CANCELLED",
        "3": "OUT_OF_MEMORY",
    }


@pytest.mark.parametrize("sacct", ["", "echo 'Slurm accounting storage is disabled' >&2; exit 1", "missing"])
def test_scontrol_reports_jobs_without_accounting(programs: WriteProgram, sacct: str) -> None:
    programs("squeue", "")
    if sacct != "missing":
        programs("sacct", sacct)
    programs("scontrol", 'echo "JobId=$4 JobState=FAILED Reason=NonZeroExitCode Dependency=(null)"')
    assert slurm.query_jobs([JobId("5")]) == {JobId("5"): slurm.JobInfo("FAILED", "NonZeroExitCode")}


def test_only_an_explicit_error_makes_a_job_forgotten(programs: WriteProgram) -> None:
    programs("squeue", "")
    programs("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.query_jobs([JobId("5")]) == {JobId("5"): slurm.JobInfo(slurm.FORGOTTEN)}
    programs("scontrol", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert slurm.query_jobs([JobId("5")]) == {}


def test_unresponsive_slurm_reports_nothing(programs: WriteProgram, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 0.2)
    for name in ("squeue", "sacct", "scontrol"):
        programs(name, "exec sleep 60")
    started = time.monotonic()
    assert slurm.query_jobs(map(JobId, map(str, range(50)))) == {}
    assert time.monotonic() - started < 9, "not once for each job"


def test_reason_with_blanks_is_explained(programs: WriteProgram) -> None:
    programs("scontrol", "echo 'JobId=5 JobState=PENDING Reason=launch_failed_requeued_held Dependency=(null)'")
    assert slurm.query_jobs([JobId("5")])[JobId("5")].explanation.startswith("a node failed to start it")


def test_comment_of_the_user_is_no_state(programs: WriteProgram) -> None:
    programs("scontrol", "echo 'JobId=5 JobState=RUNNING Reason=None Comment=a JobState=FAILED JobId=6'")
    assert slurm.query_jobs([JobId("5"), JobId("6")]) == {JobId("5"): slurm.JobInfo("RUNNING")}


# Slurm 22.05.8, shortened: `scontrol --oneliner show job 11` after `sbatch --array=0-1`.
_ARRAY = """JobId=11 ArrayJobId=11 ArrayTaskId=1 JobName=x JobState=FAILED Reason=NonZeroExitCode
JobId=12 ArrayJobId=11 ArrayTaskId=0 JobName=x JobState=RUNNING Reason=None"""


@pytest.mark.parametrize(
    ("job", "state"),
    [(JobId("11", "0"), "RUNNING"), (JobId("11", "1"), "FAILED"), (JobId("11"), "FAILED"), (JobId("12"), "RUNNING")],
)
def test_task_of_an_array_is_distinguished_from_its_siblings(programs: WriteProgram, job: JobId, state: str) -> None:
    programs("scontrol", f"echo '{_ARRAY}'")
    assert slurm.query_jobs([job])[job].state == state
    assert slurm.query_jobs([JobId("11", "2")]) == {}
    programs("scontrol", f"echo '{_ARRAY.replace('ArrayTaskId=0', 'ArrayTaskId=0,2-8:2%1')}'")
    assert slurm.query_jobs([JobId("11", "4")])[JobId("11", "4")].state == "RUNNING"


def test_job_submitted_from_a_task_of_an_array_is_none_itself(programs: WriteProgram) -> None:
    inherited = {"SLURM_JOB_ID": "62", "SLURM_ARRAY_JOB_ID": "11", "SLURM_ARRAY_TASK_ID": "0"}
    programs("scontrol", "echo 'JobId=62 JobName=x JobState=RUNNING'")
    assert slurm.this_job(inherited) == JobId("62")
    programs("scontrol", f"echo '{_ARRAY}'")
    assert slurm.this_job(inherited | {"SLURM_JOB_ID": "12"}) == JobId("11", "0")
    programs("scontrol", "exit 1")
    assert slurm.this_job(inherited | {"SLURM_JOB_ID": "12"}) == JobId("11", "0")


def test_every_query_names_the_cluster(programs: WriteProgram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    for name in ("squeue", "sacct", "scancel"):
        programs(name, f"echo {name} $1 $2 $SLURM_CLUSTERS $SQUEUE_PARTITION >>{log}")
    programs("scontrol", f"echo scontrol $1 $2 $SLURM_CLUSTERS >>{log}; echo JobId=7 JobState=CANCELLED Reason=None")
    monkeypatch.setenv("SLURM_CLUSTERS", "beta")
    monkeypatch.setenv("SQUEUE_PARTITION", "hidden")
    job = JobId("7", cluster="alpha")
    assert slurm.query_jobs([job])[job].state == "CANCELLED"
    slurm.send_signal(job, "USR2")
    assert slurm.cancel([job]) == {}
    assert slurm.job_facts(job)["JobId"] == "7"
    assert {tuple(line.split()[1:]) for line in log.read_text().splitlines()} == {("-M", "alpha")}
    log.unlink()
    slurm.query_jobs([JobId("7")])
    assert "beta" not in log.read_text(), "a job without a cluster is on that of this machine"


def test_job_notes_the_cluster_that_it_runs_on(programs: WriteProgram) -> None:
    slurm.local_cluster.cache_clear()
    programs("scontrol", "echo 'ClusterName             = alpha'")
    assert slurm.job_of({"job_id": "7", "home_cluster": "alpha"}) == JobId("7")
    assert slurm.job_of({"job_id": "7", "home_cluster": "beta"}) == JobId("7", cluster="beta")
    slurm.local_cluster.cache_clear()


def test_cancel_reports_a_job_that_goes_on(
    programs: WriteProgram, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(slurm, "_CANCEL_S", 0.1)
    programs("scancel", f"echo $1 >>{tmp_path}/cancelled")  # succeeds and does nothing, like Slurm's with `12` for 11_0
    programs("scontrol", f"echo '{_ARRAY}'")
    programs("squeue", "echo '11_0|RUNNING|None'; echo '11_1|COMPLETING|None'")
    assert slurm.cancel([JobId("12")]) == {JobId("12"): slurm.JobInfo("RUNNING")}
    assert slurm.cancel([JobId("11")]) == {}
    names = (tmp_path / "cancelled").read_text().split()
    assert names == ["11_0", "11_1"], "never the number of the whole array"


def test_each_start_of_a_requeued_job_is_an_allocation(programs: WriteProgram) -> None:
    rows = "7|2027-01-15T10:00:00|2027-01-15T11:00:00\n8_1|2027-01-15T09:00:00|Unknown\n9|Unknown|Unknown\n"
    programs(
        "sacct", f"case \"$*\" in *--duplicates*--jobs=7,8_1,9) printf '%s' '{rows}7|2027-01-15T08:00:00|None\n'; esac"
    )
    found = allocations_of([JobId("7"), JobId("8", "1"), JobId("9")])
    first, second = found["7"]
    assert (second.start - first.start, first.end, second.end) == (7200, None, second.start + 3600)
    assert found["8_1"][0].end is None and "9" not in found
    assert allocations_of([]) == {}
