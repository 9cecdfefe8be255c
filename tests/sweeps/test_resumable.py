"""Which members of a sweep can be submitted again."""

import os
import socket
from pathlib import Path

import psutil

from hpc_dl.atomic_files import write_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.resumable import resumable_members


def test_members_that_wait_for_a_living_process_are_not_submitted_again(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "a-sweep")
    for name in ("waiting", "failed", "finished"):
        run = RunFolder.create_at(sweep.path / name)
        if name != "waiting":
            write_state(run, name)  # type: ignore[arg-type]
    facts = {"point": {}, "seed": 0}
    sweep.write_members({name: {"signature": name, **facts} for name in ("waiting", "failed", "finished")})
    array = sweep.new_array()
    (array.path / "tasks").write_text("waiting\nfailed\n")
    job = {"launcher": "local", "pid": os.getpid(), "process_started": psutil.Process().create_time()}
    write_json(array.job, job | {"host": socket.gethostname()})
    assert [run.name for run in resumable_members(sweep, only_failed=False)] == ["failed"]
    write_json(array.job, job | {"host": socket.gethostname(), "process_started": 0.0})
    assert [run.name for run in resumable_members(sweep, only_failed=False)] == ["waiting", "failed"]
    assert [run.name for run in resumable_members(sweep, only_failed=True)] == ["failed"]
