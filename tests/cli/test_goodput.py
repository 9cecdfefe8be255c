"""``hpc-dl goodput``, its line in ``hpc-dl status``, and ``hpc-dl efficiency``."""

from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.phase_times import PHASES, PhaseTimes
from hpc_dl.runs.state import write_state
from hpc_dl.runs.usage_samples import Sample, SampleFile
from tests.cli.conftest import HpcDl


@pytest.fixture
def runs(hpc_dl: HpcDl) -> list[RunFolder]:
    """Two runs of 100 s with 80 s and 60 s of training, and one without a record."""
    runs = [RunFolder.create(Path("runs"), name) for name in ("a", "b", "old")]
    for run, training in zip(runs, (80.0, 60.0), strict=False):
        seconds = dict.fromkeys(PHASES, 0.0) | {"training": training, "start_up": 100 - training}
        PhaseTimes(0, 0, "", None, 1000.0, 1100.0, 0, "end", seconds, ((9, training, 0.0),)).write(run.usage)
        run.attempts.write_text('{"event": "ended", "attempt": 0, "state": "finished"}\n')
    for run in runs:
        run.config.write_text("name: x\nseed: 1\n")
        write_state(run, "finished")
    return runs


def test_one_run_shows_its_parts(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    answer = hpc_dl("goodput", "a")
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["training", "1:20", "min", "80.0%"] in lines
    assert ["start-up", "20.0", "s", "20.0%"] in lines
    assert ["allocated", "1:40", "min", "100.0%"] in lines
    status = hpc_dl("status", "a").out
    assert "Goodput: 80.0% of 1:40 min advanced the training; start-up 20.0%\n" in status


def test_several_runs_are_rows_with_a_total(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    answer = hpc_dl("goodput")
    assert "70.0%" in answer.out.splitlines()[-1] and "total" in answer.out.splitlines()[-1]
    assert f"{runs[2].name}: has not recorded" in answer.err
    rows = {row["run"]: row for row in hpc_dl("goodput", "--json").json}
    assert rows[runs[1].name]["goodput"] == 0.6 and rows[runs[1].name]["queue_s"] == 0
    assert "goodput" not in rows[runs[2].name]


def test_efficiency_shows_what_to_request(hpc_dl: HpcDl, runs: list[RunFolder]) -> None:
    for run in runs[:2]:
        SampleFile(run.usage, 0).append(Sample(1050.0, 50.0, rss_gib=1.2, cpus=0.9))
    answer = hpc_dl("efficiency", "a")
    assert (
        answer.out.splitlines()[-1] == "Next time: resources.memory=2G resources.cpus_per_gpu=1 resources.time=00:05:00"
    )
    assert "1.20 GiB" in answer.out
    answer = hpc_dl("efficiency")
    assert "Next time: resources.memory=2G" in answer.out and "total" in answer.out
    assert f"{runs[2].name}: has not recorded" in answer.err
    assert hpc_dl("efficiency", "a", "--json").json[0]["next"]["cpus_per_gpu"] == 1
