"""Which members of a sweep can be submitted again."""

import os
import socket
from pathlib import Path

import psutil
import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cli.sweep_resume import resume_sweep
from hpc_dl.cluster.dependency import unfinished
from hpc_dl.cluster.resumable import check_resumable
from hpc_dl.cluster.site import SiteProfile
from hpc_dl.cluster.status import status
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from hpc_dl.sweeps.folder import SweepFolder
from hpc_dl.sweeps.resumable import resumable_members
from hpc_dl.sweeps.resume import resume_members


def test_members_that_wait_for_a_living_process_are_not_submitted_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = SweepFolder(tmp_path / "a-sweep")
    names = ("waiting", "failed", "finished")
    waiting, failed, finished = (RunFolder.create_at(sweep.path / name) for name in names)
    write_state(failed, "failed")
    write_state(finished, "finished")
    sweep.write_members({name: {"signature": name, "point": {}, "seed": 0} for name in names})
    here = {"launcher": "local", "pid": os.getpid(), "host": socket.gethostname(), "members": 2}
    job = here | {"process_started": psutil.Process().create_time()}
    write_json(waiting.job, job)
    assert status(waiting)["state"] == "pending"
    assert unfinished([waiting]) == [waiting], "another run may wait for it"
    assert resumable_members(sweep, only_failed=False) == ([failed], [])
    write_json(waiting.cancelled, {"by": "me"})
    assert status(waiting)["state"] == "cancelled"
    assert resumable_members(sweep, only_failed=False) == ([failed], [waiting]), (
        "the process only skips it while it is cancelled"
    )
    with pytest.raises(RunError, match="still trains other runs"):
        check_resumable(waiting)
    write_json(waiting.job, job | {"process_started": 0.0})
    assert resumable_members(sweep, only_failed=False) == ([waiting, failed], [])
    assert resumable_members(sweep, only_failed=True) == ([failed], [])
    write_json(waiting.job, job)
    write_state(failed, "finished")
    resume_sweep(sweep, None, only_failed=False, yes=False, as_json=False)
    assert capsys.readouterr().err == (
        "a-sweep has no members that ended without a result and can be submitted.\n"
        "Left out: waiting, cancelled before their turn in a job that still runs other members. "
        "Resume the sweep again when that job has ended.\n"
    )


def test_sweep_without_its_section_is_refused_in_one_line(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path / "a-sweep")
    sweep.path.mkdir()
    sweep.config.write_text("")
    with pytest.raises(ConfigError, match="sweep: needs parameters"):
        resume_members(sweep, [], SiteProfile(), [])
