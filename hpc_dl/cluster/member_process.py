"""The process of one run of a task whose runs train side by side on one GPU.

``python -m hpc_dl.cluster.member_process RUN…``: srun starts one process for each run. Each is a
training with a single rank; none depends on the others.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

from hpc_dl.cluster.rank_process import exit_as_rank, run_rank
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.stopping import signals

_ALONE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}  # whatever number srun gave to this process
_POLL_S = 2.0


def main() -> None:
    """Train the run whose position is the number that srun gave to this process."""
    runs, number = sys.argv[1:], int(os.environ["SLURM_PROCID"])
    if number >= len(runs):  # the others have ended in an earlier attempt of the task
        return
    run = RunFolder(Path(runs[number]))
    os.environ.update(_ALONE)
    threading.Thread(target=_stop_when_cancelled, args=(run,), daemon=True).start()
    exit_as_rank(run_rank(run, redirect=True))


def _stop_when_cancelled(run: RunFolder) -> None:
    """Do what a signal of ``hpc-dl cancel`` would do, which would reach the other runs, too."""
    while True:
        time.sleep(_POLL_S)
        if run.cancelled.exists():
            signals.request("term", "hpc-dl cancel")


if __name__ == "__main__":
    main()
