"""The process of one rank of ``hpc-dl doctor --job``: it measures, and writes what it measured."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.child_processes import die_with_launcher
from hpc_dl.cluster.doctor import job_checks
from hpc_dl.cluster.doctor.job_check import Rank
from hpc_dl.cluster.rank_process import redirect_output
from hpc_dl.compatibility.deferred_imports import defer_rarely_used
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder

_MOST_S = 480.0  # of one process; a hanging file system or network ends no check by itself


def report_file(run: RunFolder, rank: int) -> Path:
    """The file with the measurements of a rank: ``rank``, ``node``, ``measured``, ``done``."""
    return run.path / f"measured-{rank}.json"


def main() -> None:
    """``python -m hpc_dl.cluster.doctor.rank_process FOLDER``: measure as one rank.

    It always ends with status 0, so that srun does not end the other ranks.
    """
    die_with_launcher()
    end_late = threading.Timer(_MOST_S, os._exit, (0,))
    end_late.daemon = True
    end_late.start()
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # as in a training
    defer_rarely_used()
    from hpc_dl.training.ranks import Ranks  # after the limit of time: imports may hang, too

    run, ranks = RunFolder(Path(sys.argv[1])), Ranks.from_environment()
    redirect_output(run.log(ranks.rank), ranks.rank)
    environment = ranks.lightning_environment()
    rank = Rank(
        run,
        Experiment.from_dict(yaml.load(run.config)),
        ranks.rank,
        ranks.local_rank,
        ranks.world_size,
        os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        (environment.main_address, environment.main_port) if ranks.world_size > 1 else ("", 0),
    )

    def report(measured: dict[str, Any], done: bool = False) -> None:
        content = {"rank": rank.rank, "node": rank.node, "measured": measured, "done": done}
        write_json(report_file(run, rank.rank), content)

    report(job_checks.measure(rank, report), done=True)
    sys.stderr.flush()
    os._exit(0)  # torch's cleanup may wait for ranks that wait for this one


if __name__ == "__main__":
    main()
