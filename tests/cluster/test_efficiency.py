"""What to request next time, from what a run used."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.efficiency import Use, cost, efficiency_of_runs, proposal, proposal_for_all
from hpc_dl.config import yaml
from hpc_dl.config.resources import Resources
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.phase_times import PHASES, PhaseTimes
from hpc_dl.runs.state import write_state
from hpc_dl.runs.usage_samples import Sample, SampleFile

REQUESTED = Resources(nodes=1, gpus_per_node=2, cpus_per_gpu=4, memory="16G", time="02:00:00")
FITTING = Use(
    memory_gib=11.0, cpus=3.9, data=0.0, gpu=0.9, gpu_gib=20.0, kwh=None, minutes=95.0, starts=1
)  # that of the request, with the margin


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, {}),
        ({"memory_gib": 2.0}, {"memory": "3G"}),
        ({"memory_gib": 15.9}, {"memory": "21G"}),
        ({"cpus": 1.02}, {"cpus_per_gpu": 1}),
        ({"cpus": 1.7}, {"cpus_per_gpu": 2}),
        ({"cpus": 3.9, "data": 0.3}, {"cpus_per_gpu": 6}),
        ({"minutes": 10.0}, {"time": "00:15:00"}),
        ({"minutes": 1.0}, {"time": "00:05:00"}),
        ({"minutes": 10.0, "starts": 2}, {}),
        ({"memory_gib": None, "cpus": None, "data": None, "minutes": None}, {}),
    ],
)
def test_proposal(changed: dict[str, Any], expected: dict[str, Any]) -> None:
    assert proposal(REQUESTED, replace(FITTING, **changed), has_finished=True) == expected


def test_duration_of_an_unfinished_run_says_nothing() -> None:
    assert proposal(REQUESTED, replace(FITTING, minutes=1.0), has_finished=False) == {}


def test_cost() -> None:
    assert cost(REQUESTED, replace(FITTING, minutes=30.0, kwh=0.25)) == {
        "gpu_hours": 1.0, "cpu_hours": 4.0, "gpu_kwh": 0.25
    }  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> list[RunFolder]:
    """Two finished runs of 600 s with two ranks, and one that has recorded nothing."""
    runs = []
    for number, memory in enumerate((1.0, 3.0, None)):
        run = RunFolder.create(tmp_path, f"x{number}")
        run.config.write_text(yaml.dumps({"name": "x", "seed": 1, "resources": REQUESTED.model_dump()}))
        write_state(run, "finished")
        runs.append(run)
        if memory is None:
            continue
        seconds = dict.fromkeys(PHASES, 0.0) | {"training": 600.0}
        PhaseTimes(0, 0, "", None, 1000.0, 1600.0, 0, "end", seconds, ()).write(run.usage)
        for rank in range(2):
            file = SampleFile(run.usage, rank)
            for time in range(60):
                file.append(Sample(10.0 * time, 10.0, rss_gib=memory, cpus=1.0 + 3 * (time == 7), watts=360.0))
    return runs


def test_runs_and_a_request_for_all(runs: list[RunFolder]) -> None:
    first, second, empty = efficiency_of_runs(runs)
    assert "used" not in empty
    assert first["used"]["memory_gib"] == 2.0, "of two ranks on the node"
    assert first["used"]["cpus"] == 1.0, "a peak of 10 s in 600 s does not count"
    assert first["cost"] == {"gpu_hours": 0.3333, "cpu_hours": 1.3333, "gpu_kwh": 0.12}
    assert first["next"] == {"memory": "3G", "cpus_per_gpu": 1, "time": "00:15:00"}
    assert proposal_for_all([first, second, empty]) == first["next"] | {"memory": "8G"}
    assert proposal_for_all([empty]) == {}


def test_memory_of_the_job_precedes_that_of_its_processes(runs: list[RunFolder]) -> None:
    SampleFile(runs[0].usage, 0).append(Sample(700.0, 10.0, rss_gib=9.0, cgroup_gib=5.0))
    assert efficiency_of_runs(runs[:1])[0]["used"]["memory_gib"] == 5.0
    write_json(runs[0].job, {"host": "login", "job_id": "7", "members": 4})
    assert efficiency_of_runs(runs[:1])[0]["used"]["memory_gib"] == 18.0, "of two ranks; others share the job"
