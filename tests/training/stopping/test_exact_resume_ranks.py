"""Exact resumes of several ranks, each in a separate process, also from compressed data."""

import random
import signal
from pathlib import Path

import pytest

from hpc_dl.errors import Stopped
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.state import read_state
from tests import experiments
from tests.training.attempts import Stop, finish_in_processes, output, start, wait
from tests.training.stopping.interrupted_runs import BATCHES, CNN, prepared, seeded_stops

pytestmark = pytest.mark.slow

_RANKS = [
    # nodes, GPUs per node, compressed, stops
    (1, 1, True, 10),
    (1, 2, False, 10),
    (2, 2, False, 10),
    (2, 2, True, 10),
]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("nodes", "per_node", "compressed", "stops"), _RANKS)
def test_several_ranks_stopped_at_arbitrary_steps(
    tmp_path: Path, many_images: Path, nodes: int, per_node: int, compressed: bool, stops: int
) -> None:
    ranks = nodes * per_node
    draw = random.Random(ranks)
    sections = {
        "data": {"batch_size": 8 // ranks, "shuffle_buffer": 0.02},  # several windows in an epoch
        "resources": {"nodes": nodes, "gpus_per_node": per_node, "cpus_per_gpu": 1},
        "model": CNN["model"] | {"channels": [4, 8], "hidden": 64},
        "trainer": {"accelerator": "cpu", "val_check_interval": 11},
    }
    file = experiments.compressed(many_images) if compressed else many_images
    reference = finish_in_processes(prepared(tmp_path, file, **sections))
    run = prepared(tmp_path, file, **sections)
    # Whichever rank gets the signal, all stop at the same point.
    points = [Stop(stop.step, stop.hook, rank=draw.randrange(ranks)) for stop in seeded_stops(3 * BATCHES - 3, stops)]
    finish_in_processes(run, *points)
    assert differences(run, reference) == []


@pytest.mark.slow
@pytest.mark.usefixtures("user_modules")
def test_two_ranks_of_a_user_module(tmp_path: Path, many_images: Path) -> None:
    sections = {
        "model": {"class": "logs_everything.Net"},
        "data": {"batch_size": 4},
        "resources": {"gpus_per_node": 2, "cpus_per_gpu": 1},
        "trainer": {"accelerator": "cpu", "accumulate_grad_batches": 3, "max_epochs": 2},
    }
    reference = finish_in_processes(prepared(tmp_path, many_images, **sections))
    stops = [Stop(3, rank=1), Stop(8, "on_validation_batch_start"), Stop(11)]
    assert differences(finish_in_processes(prepared(tmp_path, many_images, **sections), *stops), reference) == []


def test_ranks_with_different_signals_stop_at_the_same_point(tmp_path: Path, many_images: Path) -> None:
    sections = {
        "data": {"batch_size": 4},
        "resources": {"gpus_per_node": 2, "cpus_per_gpu": 1},
        "trainer": {"accelerator": "cpu", "max_epochs": 1},
    }
    run = prepared(tmp_path, many_images, **sections)
    stops = (Stop(6, rank=0), Stop(6, rank=1, numbers=(signal.SIGTERM,)))
    assert wait(start(run, *stops)) == Stopped.exit_status, output(run)
    state = read_state(run)
    assert (state["state"], state["cause"]) == ("stopped", "term")
    # The requests travel while the next batch is computed.
    assert state["step"] == listed(run.checkpoints, "step")[-1].step in (6, 7)
