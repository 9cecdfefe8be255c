"""The batch script reports the end of a job whose ranks could not, on a real Slurm."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from hpc_dl.cluster.notify_config import Notify
from hpc_dl.cluster.site import SiteProfile
from tests.cluster.conftest import Desk, wait_until

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


def test_killed_rank_is_reported_once(slurm_desk: Desk, tmp_path: Path) -> None:
    report = tmp_path / "report"
    write = f"import sys; open({str(report)!r}, 'a').write(sys.stdin.read() + '\\n')"
    notify = Notify(on=["finished", "failed"], command=[sys.executable, "-c", write])
    (slurm_desk.folder / "own.yaml").write_text(SiteProfile(notify=notify).dumps(), encoding="utf-8")
    own = ("model={class: own_model.Own}", "optimizer={}", "model.args={hang_on_rank: 0}")
    slurm_desk.run("submit", "tiny.yaml", *own, "--site", "own.yaml")
    run = slurm_desk.only_run()
    wait_until(lambda: run.log(0).exists() and "hangs" in run.log(0).read_text(), "the training has started")
    victim = re.search(r"process (\d+)", run.log(0).read_text())  # the nodes are on this machine
    assert victim
    os.kill(int(victim[1]), signal.SIGKILL)
    wait_until(lambda: report.exists() and report.read_text().endswith("\n"), "the end was reported")
    (line,) = report.read_text().splitlines()
    facts = json.loads(line)
    assert (facts["event"], facts["run"], facts["dir"]) == ("failed", run.name, str(run.path))
    assert "killed" in facts["reason"]
