"""A scaling test: the same work on each shape, the rules of the learning rate, the table."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cluster.scaling import LrRule, Measurement, experiments, measurements, recommendation, shapes
from hpc_dl.config.experiment import Experiment
from hpc_dl.config.resources import Resources
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.figures.scaling import draw_scaling
from hpc_dl.learning.schedules import WithWarmup
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.step_times import step_times_file
from tests.cluster.conftest import Desk, wait_until


def an_experiment(**changes: Any) -> Experiment:
    raw = {
        "name": "x", "data": {"file": "/x.h5", "batch_size": 32}, "model": {"name": "linear"},
        "optimizer": {"name": "sgd", "lr": 0.1}, "resources": {"memory": "8G"},
    }  # fmt: skip
    return Experiment.from_dict(raw | changes)


def planned(nodes: list[int], gpus: list[int], *, weak: bool = False, lr_rule: LrRule = "none") -> list[Experiment]:
    experiment = an_experiment()
    return experiments(experiment, shapes(experiment.resources, nodes, gpus), steps=100, weak=weak, lr_rule=lr_rule)


def test_shapes_are_sorted_by_ranks_and_keep_the_memory_of_each() -> None:
    found = shapes(Resources(gpus_per_node=2, memory="8G"), [1, 2], [1, 4])
    assert [(shape.nodes, shape.gpus_per_node, shape.memory_gib) for shape in found] == [
        (1, 1, 4), (2, 1, 4), (1, 4, 16), (2, 4, 16)
    ]  # fmt: skip


def test_strong_scaling_keeps_the_batch_over_all_ranks() -> None:
    found = planned([1, 2], [1, 2])
    assert [each.batch_size_per_device * each.resources.world_size for each in found] == [32] * 4
    assert {each.trainer.max_steps for each in found} == {100}
    assert {each.optimizer.lr for each in found} == {0.1}
    assert [each.name for each in found] == ["x-1x1", "x-1x2", "x-2x1", "x-2x2"]
    with pytest.raises(ConfigError, match="a batch of 32 over the 1 ranks of the smallest shape"):
        planned([1], [1, 3])


@pytest.mark.parametrize(("lr_rule", "lr", "warmup"), [("none", 0.1, 0), ("linear", 0.4, 10), ("sqrt", 0.2, 10)])
def test_weak_scaling_keeps_the_batch_of_a_rank(lr_rule: LrRule, lr: float, warmup: int) -> None:
    first, last = planned([1], [1, 4], weak=True, lr_rule=lr_rule)
    assert (first.batch_size_per_device, last.batch_size_per_device) == (32, 32)
    assert first.optimizer.lr == 0.1
    assert last.optimizer.lr == pytest.approx(lr)
    assert isinstance(last.schedule, WithWarmup)
    assert last.schedule.warmup_steps == warmup


def test_speed_up_and_efficiency(tmp_path: Path) -> None:
    found = planned([1], [1, 2, 4])
    runs = [RunFolder.create_at(tmp_path / each.name) for each in found]
    with pytest.raises(RunError, match="has measured no steps"):
        measurements(runs, found)
    for run, step_s in zip(runs, (0.4, 0.2, 0.16), strict=True):
        write_json(step_times_file(run), {"steps": 80, "step_s": step_s, "data": 0.3, "communication": 0.1})
    results = measurements(runs, found)
    assert [(each.speedup, each.efficiency) for each in results] == [
        (1, 1), (pytest.approx(2), pytest.approx(1)), (pytest.approx(2.5), pytest.approx(0.625))
    ]  # fmt: skip
    assert "resources.gpus_per_node=2: the fastest shape" in recommendation(results)
    assert "With 4 ranks, rank 0 waits 30% of the time for data" in recommendation(results)
    assert results[-1].facts()["samples_per_s"] == pytest.approx(200)


def test_a_single_shape_is_recommended() -> None:
    only = Measurement(Resources(), "r", 0.1, 32, 0.1, 0, 0, 1, 1)
    assert "Larger shapes may pay" in recommendation([only])


def test_figure(tmp_path: Path) -> None:
    draw_scaling("x", [1, 2, 4], [1, 1.9, 3], [0.1, 0.2, 0.3], [0, 0.1, 0.2], tmp_path / "s.svg")
    assert (tmp_path / "s.svg").stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpus", "1,x"], "--gpus: must be numbers above 0"),
        (["--lr-rule", "cubic"], "--lr-rule: is not known"),
        (["--plot", "x.txt"], "--plot: must be a figure"),
    ],
)
def test_mistakes_are_one_line(desk: Desk, arguments: list[str], message: str) -> None:
    error = desk.run("scale", "tiny.yaml", *arguments, status=2).stderr.strip()
    assert message in error and "\n" not in error


@pytest.mark.slow
def test_two_shapes_on_this_machine(desk: Desk) -> None:
    result = desk.json("scale", "tiny.yaml", "--steps", "20", "--plot", "s.png")
    assert [(shape["ranks"], shape["batch"]) for shape in result["shapes"]] == [(1, 32), (2, 32)]
    assert result["shapes"][0]["communication"] == 0 < result["shapes"][1]["communication"] < 1
    assert all(0 < shape["data"] < 1 and shape["step_s"] > 0 for shape in result["shapes"])
    assert (desk.folder / "s.png").exists()


@pytest.mark.slow
def test_ctrl_c_ends_the_shape_that_runs(desk: Desk) -> None:
    scaling = desk.start("scale", "tiny.yaml", "--steps", "1000000", start_new_session=True)
    wait_until(lambda: any("epoch" in log.read_text() for log in desk.runs.glob("*/logs/rank-0.log")), "it trains", 60)
    os.killpg(scaling.pid, signal.SIGINT)
    _, errors = scaling.communicate(timeout=300)
    assert scaling.returncode == 130, errors
    assert "Traceback" not in errors


@pytest.mark.slurm
def test_two_nodes_on_slurm(slurm_desk: Desk) -> None:
    result = slurm_desk.json("scale", "tiny.yaml", "--nodes", "1,2", "--gpus", "1", "--steps", "20", "--weak")
    assert [(shape["nodes"], shape["batch"]) for shape in result["shapes"]] == [(1, 32), (2, 64)]
