"""Uploads a run as often as its stdin has lines, each time in a child process, whose id it prints.

The children are forked, because importing wandb in each of them would take seconds.
"""

import os
import signal
import sys
from pathlib import Path

from hpc_dl.tracking import wandb_upload
from hpc_dl.tracking.wandb_account import account
from hpc_dl.tracking.wandb_description import FINISHED, RUNNING

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun

wandb_upload._MOST_LINES = 40
account()
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
run = ReportedRun(Path(sys.argv[1]), FakeWandb())
for line in sys.stdin:
    if (child := os.fork()) == 0:
        try:
            run.sync(FINISHED if line.strip() == "finished" else RUNNING)
        finally:
            os._exit(0)
    print(child, flush=True)
