"""The W&B history of interrupted and resumed runs, with wandb's own process and files."""

import os
import signal

import psutil
import pytest

from .fake_wandb import FakeWandb
from .wandb_process import LIMIT_S, RUN_ID, UNREACHABLE, kill, rows_are_flushed, signal_all, wait

pytestmark = pytest.mark.slow


def test_killed_online_run_has_one_history(report):
    with FakeWandb() as server:

        def disconnect(_: psutil.Process) -> None:
            wait(lambda: len(server.rows.get(RUN_ID, [])) >= 9)
            server.refuse = 503

        report(server.url, attempt=0, actions={10: disconnect, 19: kill})
        server.refuse = None
        assert 9 <= len(server.rows[RUN_ID]) <= 10
        resumed = report(server.url, attempt=1, from_step=5, num_rows=30)
        resumed.check()
        resumed.check_one_history(server)
        assert server.exit_codes == {RUN_ID: 0}


def test_killed_offline_run_has_one_history(report, tmp_path):
    with FakeWandb() as server:
        wait_for_rows = {10: lambda _: wait(lambda: rows_are_flushed(tmp_path)), 19: kill}
        killed = report(UNREACHABLE, attempt=0, actions=wait_for_rows)
        assert killed.process.returncode == -signal.SIGKILL
        report(UNREACHABLE, attempt=1, from_step=18, num_rows=25, preempted=True).check()
        resumed = report(UNREACHABLE, attempt=2, from_step=23, num_rows=30)
        resumed.check()
        resumed.sync(server)
        resumed.check_one_history(server)


def test_run_that_was_offline_in_between_has_one_history(report):
    with FakeWandb() as server:
        report(server.url, attempt=0, num_rows=8, exit_code=1).check()
        assert server.exit_codes == {RUN_ID: 1}
        report(UNREACHABLE, attempt=1, from_step=6, num_rows=22).check()
        resumed = report(server.url, attempt=2, from_step=20, num_rows=30)
        resumed.check()
        resumed.check_one_history(server)


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_stopped_run_is_preempted_and_resumes(report, mode, tmp_path):
    """SIGTERM, which ends wandb's own process, arrives between the training and its validation."""
    with FakeWandb() as server:
        stopped = report(
            server.url,
            mode,
            attempt=0,
            num_rows=20,
            to_validation=True,
            preempted=True,
            actions={
                10: lambda _: wait(lambda: rows_are_flushed(tmp_path)),
                18: lambda process: signal_all(process, signal.SIGTERM),
            },
        )
        assert stopped.process.returncode == 0, stopped.process.stderr
        assert stopped.outcome["seconds"]["finish"] < LIMIT_S
        if mode == "offline":
            stopped.sync(server)
        assert server.preempting == {RUN_ID}
        assert server.exit_codes == {RUN_ID: os.EX_TEMPFAIL}
        assert server.summaries[RUN_ID]["train/loss"] == 1 / 20
        assert [row["_step"] for row in server.rows[RUN_ID]] == list(range(19))
        resumed = report(server.url, mode, attempt=1, from_step=20, from_validation=True, num_rows=30)
        resumed.check()
        if mode == "offline":
            resumed.sync(server)
        resumed.check_one_history(server)
        assert server.exit_codes == {RUN_ID: 0}
        assert server.preempting == set()
