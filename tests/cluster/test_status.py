"""A run's own word joined with Slurm's, and Slurm's silence."""

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster import slurm
from hpc_dl.cluster.follow import LogReader, watch
from hpc_dl.cluster.requeue import refusal
from hpc_dl.cluster.status import SILENCE, cancel, log_of, status, statuses
from hpc_dl.errors import RunError
from hpc_dl.runs.attempts import history
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import State, read_state, write_state
from tests.cluster.conftest import Desk, wait_until
from tests.conftest import PROJECT

JOB = {"launcher": "slurm", "job_id": "7", "host": "login", "submitted": "2026-01-01T00:00:00+0000"}

_DETAILS: dict[str, dict[str, Any]] = {
    "failed": {"reason": "ValueError: x", "rank": 2, "log": "l"},
    "stopped": {"reason": "its time limit is near", "step": 7},
}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = RunFolder.create(tmp_path, "x")
    folder.config.write_text("name: x\n")
    return folder


def slurm_says(monkeypatch: pytest.MonkeyPatch, *info: slurm.JobInfo) -> None:
    monkeypatch.setattr(slurm, "ask", lambda ids: {"7": info[0]} if info and list(ids) else {})


@pytest.mark.parametrize(
    ("own", "word", "reason", "state", "told"),
    [
        (None, "PENDING", "Priority", "pending", "other jobs are before it in the queue (Priority)"),
        (None, "PENDING", "QOSMaxGRESPerUser", "pending", "a limit of the quality of service for you is reached"),
        (None, "PENDING", "SomethingNew", "pending", "SomethingNew"),
        (None, "PENDING", "", "pending", "waiting in the queue"),
        (None, "RUNNING", "", "running", "the job is starting"),
        (None, "COMPLETING", "", "running", ""),
        (None, "CANCELLED", "", "cancelled", "scancel"),
        (None, "FAILED", "NonZeroExitCode", "lost", "failed before it could say why"),
        ("running", "RUNNING", "", "running", ""),
        ("running", "TIMEOUT", "", "lost", "TIMEOUT: it reached its time limit before it could stop"),
        ("running", "OUT_OF_MEMORY", "", "lost", "raise resources.memory"),
        ("running", "NODE_FAIL", "", "lost", "a node failed; go on with `hpc-dl resume /"),
        ("running", "COMPLETED", "", "lost", "it ended without a result"),
        ("running", "PENDING", "BeginTime", "pending", "a requeued job waits about two minutes"),
        ("running", slurm.FORGOTTEN, "", "lost", "Slurm no longer knows it"),
        ("stopped", "PENDING", "BeginTime", "pending", "requeued, goes on at step 7: its start time is not reached"),
        ("stopped", "COMPLETING", "", "running", ""),
        ("stopped", "RUNNING", "", "running", ""),
        ("stopped", "CANCELLED", "", "cancelled", "scancel"),
        ("stopped", "FAILED", "", "stopped", "its time limit is near; go on with `hpc-dl resume /"),
        ("stopped", slurm.FORGOTTEN, "", "stopped", "go on with `hpc-dl resume /"),
        ("failed", "COMPLETED", "", "failed", "ValueError: x"),
        ("finished", "FAILED", "", "finished", ""),
    ],
)
def test_both_words_make_a_state(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, own: State | None, word: str, reason: str, state: str, told: str
) -> None:
    write_json(run.job, JOB)
    if own:
        write_state(run, own, **_DETAILS.get(own, {}))
    slurm_says(monkeypatch, slurm.JobInfo(word, reason))
    facts = status(run)
    assert facts["state"] == state
    assert told in facts.get("reason", "")
    assert facts["job"] == "Slurm job 7"


def test_why_slurm_refused_a_requeue_is_told(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "stopped", reason="its time limit is near", step=7)
    refusal(run).write_text("Requested operation is presently disabled for job 7\n")
    slurm_says(monkeypatch, slurm.JobInfo("FAILED"))
    assert status(run)["reason"] == (
        "its time limit is near; Slurm refused to requeue it: Requested operation is presently disabled for job 7; "
        f"go on with `hpc-dl resume {run.word}`"
    )


def test_a_run_that_others_took_down_can_go_on(run: RunFolder) -> None:
    write_state(run, "failed", reason="rank 1 was killed by SIGKILL (often: out of memory)")
    assert status(run)["reason"].endswith(f"; go on with `hpc-dl resume {run.word}`")


def test_a_follower_waits_while_slurm_is_silent_about_a_stopped_run(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpc_dl.cluster.follow._ASK_S", 0.01)
    write_json(run.job, JOB)
    write_state(run, "stopped", reason="its time limit is near", step=7)
    slurm_says(monkeypatch)
    news = watch(run)
    first = next(news)
    assert isinstance(first, dict) and (first["state"], first["reason"]) == ("stopped", SILENCE)
    slurm_says(monkeypatch, slurm.JobInfo("PENDING", "BeginTime"))
    second = next(news)
    assert isinstance(second, dict) and second["state"] == "pending"
    slurm_says(monkeypatch, slurm.JobInfo("FAILED"))
    (last,) = news
    assert isinstance(last, dict) and last["state"] == "stopped"


def test_silence_of_slurm_changes_nothing(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    slurm_says(monkeypatch)
    facts = status(run)
    assert facts["state"] == "running"
    assert "did not answer" in facts["reason"]


@pytest.mark.parametrize(
    ("word", "state"), [("RUNNING", "running"), ("CANCELLED", "cancelled"), ("FAILED", "cancelled")]
)
def test_a_cancelled_run_is_cancelled_when_its_job_has_ended(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, word: str, state: str
) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    write_json(run.cancelled, {"by": "me"})
    slurm_says(monkeypatch, slurm.JobInfo(word))
    assert status(run)["state"] == state
    write_state(run, "failed", reason="SIGTERM")
    assert status(run)["state"] == "cancelled"


def test_progress_comes_from_the_journal(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(run.job, JOB)
    write_state(run, "running")
    (run.journal / "attempt-000.jsonl").write_text('{"from_step": 0}\n{"step": 9, "epoch": 1, "train/loss": 1.0}\n')
    slurm_says(monkeypatch, slurm.JobInfo("RUNNING"))
    assert {"epoch": 1, "step": 9}.items() <= status(run).items()


def test_a_process_is_known_by_its_start_time_too(run: RunFolder) -> None:
    mine = {"launcher": "local", "pid": os.getpid(), "host": socket.gethostname()}
    write_json(run.job, {**mine, "process_started": psutil.Process().create_time()})
    assert status(run)["state"] == "running"
    write_json(run.job, {**mine, "process_started": 0.0})
    assert status(run)["state"] == "lost"
    write_json(run.job, {**mine, "process_started": 0.0, "host": "elsewhere"})
    write_state(run, "running")
    facts = status(run)
    assert (facts["state"], facts["reason"]) == ("running", "it runs on elsewhere; look there whether it is alive")


def test_many_runs_are_one_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[list[str]] = []
    monkeypatch.setattr(slurm, "ask", lambda ids: questions.append(sorted(ids)) or {})  # type: ignore[func-returns-value]
    runs = [RunFolder.create(tmp_path, "x") for _ in range(5)]
    for number, run in enumerate(runs):
        write_json(run.job, {**JOB, "job_id": str(number)})
    write_state(runs[0], "finished")
    statuses(runs)
    assert questions == [["1", "2", "3", "4"]]


def test_cancel_of_what_has_ended_or_never_began(run: RunFolder) -> None:
    with pytest.raises(RunError, match="was never launched"):
        cancel(run)
    write_state(run, "finished")
    assert cancel(run) is False
    assert not run.cancelled.exists()


# ---- Slurm's commands, played by shell scripts


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    real = slurm.shutil.which
    monkeypatch.setattr(slurm.shutil, "which", lambda name: found if (found := real(name, path=str(folder))) else None)

    def make(name: str, text: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(stat.S_IRWXU)

    return make


def test_accounting_answers_for_what_the_controller_forgot(programs: Any) -> None:
    programs("squeue", "echo '1|RUNNING|None'")
    programs("sacct", "echo '2|CANCELLED by 0|None'; echo '3|OUT_OF_MEMORY|OutOfMemory'")
    told = slurm.ask(["1", "2", "3"])
    assert {job: info.state for job, info in told.items()} == {"1": "RUNNING", "2": "CANCELLED", "3": "OUT_OF_MEMORY"}


@pytest.mark.parametrize("sacct", ["", "echo 'Slurm accounting storage is disabled' >&2; exit 1", "missing"])
def test_without_accounting_the_controller_is_asked_for_each(programs: Any, sacct: str) -> None:
    programs("squeue", "")
    if sacct != "missing":
        programs("sacct", sacct)
    programs("scontrol", 'echo "JobId=$4 JobState=FAILED Reason=NonZeroExitCode Dependency=(null)"')
    assert slurm.ask(["5"]) == {"5": slurm.JobInfo("FAILED", "NonZeroExitCode")}


def test_only_an_explicit_word_makes_a_job_forgotten(programs: Any) -> None:
    programs("squeue", "")
    programs("scontrol", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.ask(["5"]) == {"5": slurm.JobInfo(slurm.FORGOTTEN)}
    programs("scontrol", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert slurm.ask(["5"]) == {}


def test_a_slurm_that_hangs_is_silence(programs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "_TIMEOUT_S", 0.2)
    for name in ("squeue", "sacct", "scontrol"):
        programs(name, "exec sleep 30")
    began = time.monotonic()
    assert slurm.ask(["5"]) == {}
    assert time.monotonic() - began < 5


# ---- logs


def test_log_reader_gives_whole_lines_once(tmp_path: Path) -> None:
    path = tmp_path / "log"
    reader = LogReader(path)
    assert reader.lines() == []
    path.write_bytes(b"one\ntw")
    assert reader.lines() == ["one"]
    with path.open("ab") as file:
        file.write(b"o\n\xff\nend")
    assert reader.lines() == ["two", "�"]
    assert reader.rest() == ["end"]


def test_before_a_rank_has_a_log_slurms_output_is_shown(run: RunFolder) -> None:
    assert log_of(run) is None
    (run.submitit / "7_0_log.out").write_text("module: command not found\n")
    write_state(run, "failed", reason="x")
    assert [news for news in watch(run) if isinstance(news, str)] == ["module: command not found"]
    run.log(0).write_text("begun\n")
    assert log_of(run) == run.log(0)


# ---- in the background, without Slurm


@pytest.mark.slow
def test_submit_without_slurm_runs_in_the_background(desk: Desk) -> None:
    done = desk.run("submit", "tiny.yaml", "--wait", "--json")
    assert "This machine has no Slurm" in done.stderr
    assert '"state": "finished"' in done.stdout
    assert '"test/accuracy"' in done.stdout
    assert "epoch 1/1" in done.stderr  # rank 0's log


@pytest.mark.slow
def test_a_background_run_survives_and_is_cancelled(desk: Desk) -> None:
    submitter = desk.start(
        "submit", "tiny.yaml", "model={class: own_model.Own, args: {hang_on_rank: 0}}", "optimizer={}", "--wait",
        start_new_session=True,
    )  # fmt: skip
    wait_until(lambda: list(desk.runs.glob("*/logs/rank-0.log")), "the run has begun")
    run = desk.only_run()
    wait_until(lambda: "hangs" in run.log(0).read_text(), "the training has begun")
    os.killpg(submitter.pid, 2)  # as a terminal's Ctrl-C
    _, told = submitter.communicate(timeout=20)
    assert submitter.returncode == 130
    assert "The run continues" in told and f"hpc-dl logs {run.name} --follow" in told
    assert desk.json("status", "latest")[0]["state"] == "running"
    assert "stop requested" in desk.run("cancel", run.name).stderr
    wait_until(lambda: desk.json("status", run.name)[0]["state"] == "cancelled", "the run is cancelled", 30)
    assert "had already ended (cancelled)" in desk.run("cancel", run.name).stderr


@pytest.mark.slow
def test_a_background_run_goes_on_after_its_time_limit(desk: Desk) -> None:
    desk.run(
        "submit", "tiny.yaml", "model={class: own_model.Own, args: {slow_until: never}}", "optimizer={}",
        "trainer.max_epochs=1000", "trainer.limit_train_batches=1.0", "resources.time=1",
    )  # fmt: skip
    run = desk.only_run()
    wait_until(lambda: len(history(run)) >= 3, "it was stopped and started again", 90)
    _, ended, started = history(run)[:3]
    assert (ended["state"], ended["cause"]) == ("stopped", "limit")
    assert started["from_step"] == ended["step"] > 0
    assert desk.json("status", run.name)[0]["state"] == "running"
    desk.run("cancel", run.name)
    assert desk.json("status", run.name)[0]["state"] == "cancelled"
    assert read_state(run)["step"] >= ended["step"], "cancelled with a checkpoint"


# ---- what needs no torch


@pytest.mark.parametrize(
    "words", [["status"], ["results"], ["logs", "--help"], ["submit", "--help"], ["cancel", "--help"]]
)
def test_commands_that_need_no_torch_do_not_import_it(tmp_path: Path, words: list[str]) -> None:
    text = (
        "import sys\nfrom hpc_dl.cli.main import main\n"
        f"sys.argv = ['hpc-dl', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'pytorch_lightning', 'submitit', 'wandb'} & sys.modules.keys()\nassert not heavy, heavy\n"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "HPC_DL_RUNS": str(tmp_path)}
    subprocess.run([sys.executable, "-c", text], env=environment, check=True, capture_output=True, timeout=60)
