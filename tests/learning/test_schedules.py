"""Each schedule against its closed formula, as torch applies it step by step."""

import itertools
import math

import pytest
import torch
from torch import nn

from hpc_dl.learning.schedules import SCHEDULES, Constant, Cosine, Exponential, ScheduleConfig, Step

LR = 0.5


def rates(schedule: ScheduleConfig, total_steps: int, steps: int | None = None) -> list[float]:
    """The learning rate of each optimizer step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = schedule.build(optimizer, total_steps)
    found = []
    for _ in range(steps or total_steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_constant() -> None:
    assert rates(Constant(), 5) == [LR] * 5


def test_cosine() -> None:
    wanted = [LR * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    assert rates(Cosine(), 10) == pytest.approx(wanted, rel=1e-12)
    assert rates(Cosine(), 10)[0] == LR
    assert rates(Cosine(), 10)[5] == pytest.approx(LR / 2)


def test_cosine_ends_at_its_final_share_and_stays_there() -> None:
    found = rates(Cosine(final=0.1), 10, steps=14)
    assert found[10:] == pytest.approx([0.1 * LR] * 4)
    assert found[9] == pytest.approx(LR * (0.1 + 0.9 * (1 + math.cos(math.pi * 0.9)) / 2))
    assert all(later < earlier for earlier, later in itertools.pairwise(found[:11]))


def test_step() -> None:
    assert rates(Step(every=3, gamma=0.5), 8) == pytest.approx([LR] * 3 + [LR / 2] * 3 + [LR / 4] * 2)


def test_exponential() -> None:
    found = rates(Exponential(final=0.01), 10, steps=13)
    assert found[:10] == pytest.approx([LR * 0.01 ** (step / 10) for step in range(10)], rel=1e-12)
    assert found[10:] == pytest.approx([LR * 0.01] * 3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_warm_up_rises_linearly_and_then_the_schedule_has_the_rest_of_the_steps(name: str) -> None:
    options = {"every": 2} if name == "step" else {}
    schedule = SCHEDULES[name](name=name, warmup_steps=4, **options)
    found = rates(schedule, 12)
    assert found[:4] == pytest.approx([LR * (step + 1) / 5 for step in range(4)])
    assert found[4] == LR, "the warm-up ends at the full rate"
    assert found[4:] == pytest.approx(rates(SCHEDULES[name](name=name, **options), 8))


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("total_steps", [1, 3])
def test_a_warm_up_longer_than_the_training(name: str, total_steps: int) -> None:
    options = {"every": 2} if name == "step" else {}
    found = rates(SCHEDULES[name](name=name, warmup_steps=3, **options), total_steps)
    assert found == pytest.approx([LR * (step + 1) / 4 for step in range(total_steps)])
