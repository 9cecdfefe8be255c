"""What each signal does to a run: its state, its checkpoint, and whether it is requeued."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.errors import Stopped
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts as history
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from tests.training.attempts import Stop, attempt, finish, output, start, wait
from tests.training.stopping.interrupted_runs import prepared

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("numbers", "cause", "requeue"),
    [
        ((signal.SIGUSR1,), "limit", "limit\n"),
        ((signal.SIGUSR2,), "limit", "limit\n"),
        ((signal.SIGUSR2, signal.SIGUSR2), "limit", "limit\n"),
        ((signal.SIGTERM,), "term", "term\n"),
        ((signal.SIGTERM, signal.SIGCONT, signal.SIGTERM), "term", "term\n"),
        # A cancel overrides an earlier warning of the time limit.
        ((signal.SIGUSR2, signal.SIGTERM), "term", "term\n"),
        ((signal.SIGTERM, signal.SIGUSR2), "term", "term\n"),
        ((signal.SIGINT,), "interrupt", None),
        ((signal.SIGUSR1, signal.SIGINT), "interrupt", None),
    ],
)
def test_each_signal_stops_with_its_cause(
    tmp_path: Path, many_images: Path, numbers: tuple[int, ...], cause: str, requeue: str | None
) -> None:
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 1})
    assert attempt(run, Stop(7, numbers=numbers)) == Stopped.exit_status
    assert {"state": "stopped", "step": 7, "cause": cause}.items() <= read_state(run).items()
    assert (run.requeue.read_text() if run.requeue.exists() else None) == requeue
    assert history.history(run)[-1]["cause"] == cause


def test_second_ctrl_c_stops_at_once(
    tmp_path: Path, many_images: Path, uninterrupted: Callable[..., RunFolder]
) -> None:
    checkpoint = {"every": "5 steps"}
    reference = uninterrupted(trainer={"max_epochs": 1}, checkpoint=checkpoint)
    run = prepared(tmp_path, many_images, trainer={"max_epochs": 1}, checkpoint=checkpoint)
    assert wait(start(run, Stop(8, numbers=(signal.SIGINT, signal.SIGINT)))) == 130
    assert "continues from the newest checkpoint" in output(run)
    assert listed(run.checkpoints, "step")[-1].step == 5
    assert differences(finish(run), reference) == []


def test_cancelled_run_keeps_its_checkpoint(tmp_path: Path, many_images: Path) -> None:
    run = prepared(tmp_path, many_images)
    run.cancelled.write_text("{}")
    assert attempt(run, Stop(9, numbers=(signal.SIGTERM,))) == Stopped.exit_status
    assert read_state(run)["state"] == "cancelled"
    assert listed(run.checkpoints, "step")[-1].step == 9
    assert not run.requeue.exists()


def test_requeues_are_limited(tmp_path: Path, many_images: Path) -> None:
    run = prepared(tmp_path, many_images, resources={"gpus_per_node": 0, "max_requeues": 2})
    requeued = []
    for step in (3, 6, 9):
        attempt(run, Stop(step))
        requeued.append(run.requeue.exists())
        run.requeue.unlink(missing_ok=True)
    assert requeued == [True, True, False]
    assert "already requeued 2 times" in read_state(run)["reason"]
    history.record(run, "resumed")  # by the user
    attempt(run, Stop(12))
    assert run.requeue.exists()


def test_finished_run_only_repeats_its_test(tmp_path: Path, many_images: Path) -> None:
    run = finish(prepared(tmp_path, many_images, trainer={"max_epochs": 1}))
    before = {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")}
    reference = read_json(run.result)
    finish(run)
    assert {path.name: path.stat().st_mtime_ns for path in run.checkpoints.glob("*-*.ckpt")} == before
    assert read_json(run.result)["metrics"] == reference["metrics"]
