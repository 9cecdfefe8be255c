"""A training that is entered in mid-epoch has the same bits as the uninterrupted one."""

import io
import os
import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from hpc_dl.cluster.rendezvous_port import free_port
from hpc_dl.training.lightning import random_state
from hpc_dl.training.lightning.epoch_loop import Position
from tests.conftest import PROJECT
from tests.training.lightning.resumed_training import BATCHES, EPOCHS, MIDDLE, Rows, after, fit, serialized

# After the first batch, after a validation, in between, between two epochs, before the last batch;
# before a validation in mid-epoch, and before the last one
POSITIONS = [Position(0, 1), Position(0, 2), Position(0, 3), Position(1, 0), Position(1, 5)]
POSITIONS += [Position(0, 4, validation_due=True), Position(1, 6, validation_due=True)]
QUICK = (POSITIONS[0], POSITIONS[-2])


def _parameter(position: Position) -> Any:
    return pytest.param(position, marks=[] if position in QUICK else pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize("position", [_parameter(position) for position in POSITIONS], ids=str)
def test_resumed_training_has_the_same_bits(
    position: Position, uninterrupted: Rows, saved: dict[Position, bytes]
) -> None:
    rows, _, warnings = fit((position, saved[position]))
    assert warnings == []
    assert after(rows, position) == after(uninterrupted, position)
    for name in ("callback:loss_epoch", "logged:sometimes", "progress_bar:loss_step", "callback:MulticlassAUROC"):
        assert name in rows[EPOCHS, 0]


@pytest.mark.parametrize("without", ["random", "metrics", "collections", "results", "connector"])
def test_each_part_of_the_state_is_needed(without: str, uninterrupted: Rows, saved: dict[Position, bytes]) -> None:
    rows, _, _ = fit((MIDDLE, saved[MIDDLE]), without=without)
    assert after(rows, MIDDLE) != after(uninterrupted, MIDDLE)


def test_state_is_small(saved: dict[Position, bytes]) -> None:
    assert len(saved[MIDDLE]) < 100_000


def test_metrics_start_over_with_another_number_of_ranks(saved: dict[Position, bytes]) -> None:
    content = torch.load(io.BytesIO(saved[MIDDLE]), weights_only=True)
    content["rank"]["world_size"] = 4
    rows, _, warnings = fit((MIDDLE, serialized(content)))
    assert warnings == [
        "The checkpoint was saved with 4 ranks, and this training has 1: the metrics of the epoch start over."
    ]
    # The sum of the numbers of the batches since
    assert rows[0, BATCHES]["callback:started"] == np.float32(sum(range(MIDDLE.batch, BATCHES))).tobytes()


def draws() -> list[float]:
    return [random.random(), float(np.random.random()), float(torch.rand(()))]


def test_fresh_seeds_depend_on_seed_rank_and_step_alone() -> None:
    def seeded(*of: int) -> list[float]:
        random_state.seed_fresh(*of)
        return draws()

    first = seeded(7, 0, 100)
    assert seeded(7, 0, 100) == first
    others = [seeded(8, 0, 100), seeded(7, 1, 100), seeded(7, 0, 101), seeded(2**40, 0, 100)]
    assert len({number for numbers in [first, *others] for number in numbers}) == 3 * (1 + len(others))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
def test_resumed_training_on_a_gpu_has_the_same_bits() -> None:
    uninterrupted, saved, _ = fit(save=True, accelerator="gpu")
    rows, _, warnings = fit((MIDDLE, saved[MIDDLE]), accelerator="gpu")
    assert warnings == []
    assert after(rows, MIDDLE) == after(uninterrupted, MIDDLE)
    rows, _, warnings = fit((MIDDLE, saved[MIDDLE]))
    assert warnings == ["The checkpoint was saved on a GPU, and this training runs on a CPU: random numbers differ."]


@pytest.mark.slow
def test_two_resumed_ranks_have_the_same_bits() -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    port = str(free_port())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.lightning.resumed_rank"],
            env=outside
            | {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
            | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=300) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
    (one, one_of_all), (other, other_of_all) = (output.split("the same: ")[1].split() for output, _ in outputs)
    assert one != other and one_of_all == other_of_all
