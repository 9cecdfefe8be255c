"""Disks that are full or read-only: the training continues or fails, and loses no checkpoint."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hpc_dl.errors import Stopped
from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts as history
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from tests.training.attempts import Stop, attempt, done, finish
from tests.training.stopping.interrupted_runs import STEPS

pytestmark = pytest.mark.slow


@contextmanager
def small_disk(folder: Path, size: str = "1m") -> Iterator[Callable[[str], None]]:
    """Mount a small real file system on a folder; returns what remounts it with other options."""

    def mount(*command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")

    mount("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    try:
        yield lambda options: mount("mount", "-o", f"remount,{options}", str(folder))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Fill the file system; return the file that does so."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


@contextmanager
def actions_on_signals(actions: dict[int, Callable[[], None]]) -> Iterator[None]:
    """Call an action for each signal, such as those of a Stop, within this context."""
    before = {number: signal.signal(number, lambda n, _: actions[n]()) for number in actions}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


FULL, FREED = signal.SIGHUP, signal.SIGWINCH


def test_full_disk_at_a_periodic_checkpoint(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    with small_disk(saved_run.checkpoints):
        actions = {
            FULL: lambda: (fill(saved_run.checkpoints), None)[1],
            FREED: lambda: (saved_run.checkpoints / "filler").unlink(),
        }
        steps_saved: list[int] = []
        with actions_on_signals(actions | {signal.SIGPROF: lambda: steps_saved.append(done(saved_run))}):
            stops = (
                Stop(13, numbers=(FULL,)), Stop(17, numbers=(signal.SIGPROF, FREED)),
                Stop(19, numbers=(signal.SIGPROF,)),
            )  # fmt: skip
            assert attempt(saved_run, *stops) == 0
        log = saved_run.log(0).read_text()
        assert "The checkpoint of step 15 could not be written (" in log
        assert "No space left on device" in log and "training continues" in log
        assert steps_saved[0] == 12, "the last checkpoint that fitted is kept"
        assert steps_saved[1] >= 17, "the next checkpoint was not written although there was space"
        assert list(saved_run.checkpoints.glob(".*.tmp")) == []
        assert differences(saved_run, saved_reference) == []


def test_best_weights_are_written_when_there_is_space(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    with small_disk(saved_run.checkpoints):
        actions = {
            FULL: lambda: (fill(saved_run.checkpoints), None)[1],
            FREED: lambda: (saved_run.checkpoints / "filler").unlink(),
        }
        with actions_on_signals(actions):
            stops = Stop(10, "on_train_batch_end", numbers=(FULL,)), Stop(11, numbers=(FREED,)), Stop(13)
            assert attempt(saved_run, *stops) == Stopped.exit_status
        assert "The best weights, of step 10, could not be written (" in saved_run.log(0).read_text()
        assert [checkpoint.step for checkpoint in listed(saved_run.checkpoints, "best")] == [10]
        assert differences(finish(saved_run), saved_reference) == []


def test_full_disk_at_a_stop_fails_the_run(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    with small_disk(saved_run.checkpoints):
        fillers: list[Path] = []
        with (
            actions_on_signals({FULL: lambda: fillers.append(fill(saved_run.checkpoints))}),
            pytest.raises(Exception) as raised,
        ):
            attempt(saved_run, Stop(17, numbers=(FULL, signal.SIGTERM)))
        state = read_state(saved_run)
        assert state["state"] == "failed"
        assert "No space left on device" in state["reason"] and str(saved_run.checkpoints) in state["reason"]
        assert "\n" not in str(raised.value)
        assert done(saved_run) == 15
        assert not saved_run.requeue.exists()
        assert history.history(saved_run)[-1]["state"] == "failed"
        assert list(saved_run.checkpoints.glob(".*.tmp")) == []
        fillers[0].unlink()
        finish(saved_run)
        assert history.history(saved_run)[2]["from_step"] == 15
        assert differences(saved_run, saved_reference) == []


def test_full_disk_at_the_end_fails_the_run(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    with small_disk(saved_run.checkpoints):
        fillers: list[Path] = []
        with (
            actions_on_signals({FULL: lambda: fillers.append(fill(saved_run.checkpoints))}),
            pytest.raises(Exception, match="space"),
        ):
            attempt(saved_run, Stop(STEPS, "on_train_batch_end", numbers=(FULL,)))
        assert read_state(saved_run)["state"] == "failed"
        assert read_json(saved_run.result) is None
        assert done(saved_run) == 45
        fillers[0].unlink()
        assert differences(finish(saved_run), saved_reference) == []


def test_read_only_folder(saved_run: RunFolder, saved_reference: RunFolder) -> None:
    with small_disk(saved_run.checkpoints) as mount_again:
        with (
            actions_on_signals({FULL: lambda: mount_again("ro")}),
            pytest.raises(Exception, match=r"Read-only file system\. Make the folder writable"),
        ):
            attempt(saved_run, Stop(13, numbers=(FULL,)), Stop(16, numbers=(signal.SIGUSR2,)))
        assert "The checkpoint of step 15 could not be written (" in saved_run.log(0).read_text()
        assert read_state(saved_run)["state"] == "failed"
        assert "Read-only file system" in read_state(saved_run)["reason"]
        mount_again("rw")
        assert done(saved_run) == 12
        assert differences(finish(saved_run), saved_reference) == []
