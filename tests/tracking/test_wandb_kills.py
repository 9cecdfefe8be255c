"""An upload may be killed at any point, also while another one runs."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress

import pytest

from tests.child_processes import start_module

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun

NUM_KILLS = 30


@pytest.mark.slow
def test_killed_uploads_lose_and_repeat_no_row(run: ReportedRun, wandb_server: FakeWandb) -> None:
    chance = random.Random(12)
    wandb_server.delay_s = 0.002
    attempt = run.attempt(mode="offline")
    attempt.log(1, 1000)
    step = 1000
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with start_module("tests.tracking.forked_syncs", run.folder.parent, **pipes) as forks:
        for number in range(NUM_KILLS):
            started = []
            for outcome in ["running", "finished"][: 2 if number % 3 == 0 else 1]:
                forks.stdin.write(f"{outcome}\n")
                forks.stdin.flush()
                started.append(int(forks.stdout.readline()))
            time.sleep(chance.uniform(0.0, 0.3))
            for child in started:
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
            attempt.log(step + 1, step + 20)
            step += 20
            attempt._add({"late": 1.0}, step - chance.randrange(1, 40))  # of a row that may be sent already
        forks.stdin.close()
        assert forks.wait(300) == 0
    attempt.end()
    assert run.sync().problem == ""
    run.check(step)
    assert len(wandb_server.rows) == 1
