"""Following a run: its log and the changes of its status."""

from pathlib import Path

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import slurm
from hpc_dl.cluster.follow import LogReader, follow_run, wait_for
from hpc_dl.cluster.status import NO_RESPONSE, log_of
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cluster.slurm_reports import JOB, slurm_reports


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, "x")
    folder.config.write_text("name: x\n")
    return folder


def test_log_reader_returns_complete_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = LogReader(path)
    assert reader.lines() == []
    path.write_bytes(b"one\ntw")
    assert reader.lines() == ["one"]
    with path.open("ab") as file:
        file.write(b"o\n\xff\nend")
    assert reader.lines() == ["two", "�"]
    assert reader.remaining_lines() == ["end"]


def test_a_hole_in_a_log_is_one_remark(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"before\n" + bytes(1 << 20) + b"after\n\0\n")
    assert LogReader(tmp_path / "log").lines() == ["before", "[1048576 null bytes]after", "\0"]


def test_job_output_is_shown_if_a_rank_has_no_log(run: RunFolder) -> None:
    assert log_of(run) is None
    (run.submitit / "7_0_log.out").write_text("module: command not found\n")
    write_state(run, "failed", reason="x")
    assert [line for line in follow_run(run) if isinstance(line, str)] == ["module: command not found"]
    run.log(0).write_text("started\n")
    assert log_of(run) == run.log(0)


def test_follow_waits_if_slurm_does_not_respond_about_a_stopped_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc_dl.cluster.follow._POLL_SLURM_S", 0.01)
    write_json(run.job, JOB)
    write_state(run, "stopped", reason="warned of its time limit", step=7)
    slurm_reports(monkeypatch)
    updates = follow_run(run)
    first = next(updates)
    assert isinstance(first, dict) and (first["state"], first["reason"]) == ("stopped", NO_RESPONSE)
    slurm_reports(monkeypatch, slurm.JobInfo("PENDING", "BeginTime"))
    second = next(updates)
    assert isinstance(second, dict) and second["state"] == "pending"
    slurm_reports(monkeypatch, slurm.JobInfo("FAILED"))
    (last,) = updates
    assert isinstance(last, dict) and last["state"] == "stopped"


def test_what_can_never_end_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was never launched, and one whose folder is damaged."""
    monkeypatch.setattr("hpc_dl.cluster.follow._POLL_SLURM_S", 0.01)
    never, damaged = (RunFolder.create(tmp_path, name) for name in ("never", "damaged"))
    write_state(damaged, "running")
    damaged.job.write_text("{")
    assert [facts["state"] for facts in wait_for([never, damaged])] == ["created", "unreadable"]
