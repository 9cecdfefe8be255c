"""When a job would start: the shapes that are asked about, and sbatch's answers."""

import os
from pathlib import Path

import pytest

from hpc_dl.cluster.site import Limits, SiteProfile
from hpc_dl.cluster.start_time import described, earliest, equivalent_shapes, start_times
from hpc_dl.config.experiment import Experiment
from hpc_dl.config.resources import Resources
from hpc_dl.errors import ClusterError
from tests.cluster.conftest import Desk

# The answers of Slurm 22.05, on stderr.
SBATCH = """#!/bin/bash
script=$(cat)
case $script in
*--partition=busy*) at=2026-12-01T10:00:00 ;;
*--partition=tiny*) echo "allocation failure: Requested node configuration is not available" >&2; exit 1 ;;
*--nodes=2*) at=2026-12-01T09:00:00 ;;
*) at=2026-12-01T09:30:00 ;;
esac
echo "sbatch: Job 193 to start at $at using 1 processors on nodes n1 in partition main" >&2
"""


def an_experiment(**resources: object) -> Experiment:
    return Experiment.from_dict(
        {"name": "x", "data": {"file": "/x.h5"}, "model": {"name": "linear"}, "resources": resources}
    )


@pytest.fixture
def fake_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sbatch").write_text(SBATCH)
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)


def test_shapes_with_the_same_gpus_and_the_same_memory_for_each() -> None:
    shapes = equivalent_shapes(Resources(nodes=1, gpus_per_node=4, memory="64G"))
    assert [(shape.nodes, shape.gpus_per_node, shape.memory_gib) for shape in shapes] == [
        (1, 4, 64), (4, 1, 16), (2, 2, 32)
    ]  # fmt: skip
    assert len({shape.world_size for shape in shapes}) == 1
    on_cpus = Resources(nodes=2, gpus_per_node=0)
    assert equivalent_shapes(on_cpus) == [on_cpus]
    assert described(on_cpus) == "2 nodes"


@pytest.mark.usefixtures("fake_sbatch")
def test_the_earliest_start_comes_first_and_refusals_last() -> None:
    site = SiteProfile(partition="busy,main,tiny")
    options = start_times(an_experiment(nodes=1, gpus_per_node=2), site, None)
    assert [(option.partition, option.resources.nodes, str(option.start)) for option in options] == [
        ("main", 2, "2026-12-01 09:00:00"),
        ("main", 1, "2026-12-01 09:30:00"),
        ("busy", 1, "2026-12-01 10:00:00"),
        ("busy", 2, "2026-12-01 10:00:00"),
        ("tiny", 1, "None"),
        ("tiny", 2, "None"),
    ]
    assert options[-1].refusal == "Requested node configuration is not available"
    assert earliest(options) == options[0]


@pytest.mark.usefixtures("fake_sbatch")
def test_shapes_beyond_the_limits_are_not_asked_about_and_a_refusal_of_all_is_one_line() -> None:
    site = SiteProfile(partition="tiny", limits=Limits(nodes=1))
    options = start_times(an_experiment(gpus_per_node=2), site, None)
    assert [option.resources.nodes for option in options] == [1]
    with pytest.raises(ClusterError, match=r"^sbatch: Requested node configuration is not available$"):
        earliest(options)


def test_without_slurm_it_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="needs Slurm's sbatch"):
        start_times(an_experiment(), SiteProfile(), None)


@pytest.mark.slurm
def test_on_slurm(slurm_desk: Desk) -> None:
    site = slurm_desk.folder / "site.yaml"
    site.write_text("partition: small,main\n")
    rows = slurm_desk.json("start-time", "tiny.yaml", "resources.gpus_per_node=2", "--site", str(site))
    assert {(row["partition"], row["nodes"], row["gpus_per_node"]) for row in rows} == {
        ("small", 1, 2), ("small", 2, 1), ("main", 1, 2), ("main", 2, 1)
    }  # fmt: skip
    refused = {(row["partition"], row["nodes"]) for row in rows if not row["start"]}
    assert refused == {("small", 2)}, "small allows one node"
    script = slurm_desk.run("submit", "tiny.yaml", "resources.time=60", "--site", str(site), "--first", "--dry-run")
    assert "main with 1 node x 1 GPU would start first" in script.stderr, "small allows five minutes"
    assert "#SBATCH --partition=main\n" in script.stdout
