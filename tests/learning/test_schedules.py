"""Each schedule compared with its formula, step by step."""

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from hpc_dl.errors import ConfigError
from hpc_dl.learning.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    Plateau,
    Polynomial,
    ScheduleConfig,
    Step,
    WithWarmup,
)
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from tests import experiments
from tests.training.attempts import Stop, attempt, finish

LR = 0.5
WARMED_UP = [name for name, schedule in SCHEDULES.items() if issubclass(schedule, WithWarmup)]


def rates(schedule: ScheduleConfig, total_steps: int, steps: int | None = None) -> list[float]:
    """The learning rate of each optimizer step."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = schedule.build(optimizer, total_steps)
    actual = []
    for _ in range(steps or total_steps):
        actual.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return actual


def test_constant() -> None:
    assert rates(Constant(), 5) == [LR] * 5


def test_cosine() -> None:
    expected = [LR * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(10)]
    assert rates(Cosine(), 10) == pytest.approx(expected, rel=1e-12)
    assert rates(Cosine(), 10)[0] == LR
    assert rates(Cosine(), 10)[5] == pytest.approx(LR / 2)


def test_cosine_stays_at_final() -> None:
    actual = rates(Cosine(final=0.1), 10, steps=14)
    assert actual[10:] == pytest.approx([0.1 * LR] * 4)
    assert actual[9] == pytest.approx(LR * (0.1 + 0.9 * (1 + math.cos(math.pi * 0.9)) / 2))
    assert all(later < earlier for earlier, later in itertools.pairwise(actual[:11]))


def test_step() -> None:
    assert rates(Step(every=3, gamma=0.5), 8) == pytest.approx([LR] * 3 + [LR / 2] * 3 + [LR / 4] * 2)


def test_exponential() -> None:
    actual = rates(Exponential(final=0.01), 10, steps=13)
    assert actual[:10] == pytest.approx([LR * 0.01 ** (step / 10) for step in range(10)], rel=1e-12)
    assert actual[10:] == pytest.approx([LR * 0.01] * 3)


@pytest.mark.parametrize("power", [1.0, 2.0, 0.5])
def test_polynomial(power: float) -> None:
    actual = rates(Polynomial(power=power, final=0.1), 10, steps=13)
    assert actual[:10] == pytest.approx([LR * (0.1 + 0.9 * (1 - step / 10) ** power) for step in range(10)])
    assert actual[10:] == pytest.approx([0.1 * LR] * 3)


def test_linear_matches_torch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=7, power=1.0)
    expected = []
    for _ in range(9):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates(Polynomial(), 7, steps=9) == pytest.approx(expected)


def test_one_cycle() -> None:
    actual = rates(OneCycle(rise=0.4, initial=0.2, final=0.01), 10, steps=13)
    up = [0.2 + 0.8 * (1 - math.cos(math.pi * step / 4)) / 2 for step in range(4)]
    down = [0.01 + 0.99 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(7)]
    assert actual == pytest.approx([LR * share for share in [*up, *down, 0.01, 0.01]])
    assert actual[0] == pytest.approx(0.2 * LR) and actual[4] == LR == max(actual)


def test_one_cycle_matches_torch() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=LR, total_steps=1000, cycle_momentum=False)
    expected = []
    for step in range(1000):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < 999:
            scheduler.step()
    assert rates(OneCycle(), 1000) == pytest.approx(expected, abs=0.006 * LR)


@pytest.mark.parametrize("name", WARMED_UP)
def test_warmup_precedes_the_schedule(name: str) -> None:
    options = {"every": 2} if name == "step" else {}
    schedule = SCHEDULES[name](name=name, warmup_steps=4, **options)
    actual = rates(schedule, 12)
    assert actual[:4] == pytest.approx([LR * (step + 1) / 5 for step in range(4)])
    assert actual[4] == LR, "the warm-up ends at the full rate"
    assert actual[4:] == pytest.approx(rates(SCHEDULES[name](name=name, **options), 8))


@pytest.mark.parametrize("name", WARMED_UP)
@pytest.mark.parametrize("total_steps", [1, 3])
def test_warmup_longer_than_training(name: str, total_steps: int) -> None:
    options = {"every": 2} if name == "step" else {}
    actual = rates(SCHEDULES[name](name=name, warmup_steps=3, **options), total_steps)
    assert actual == pytest.approx([LR * (step + 1) / 4 for step in range(total_steps)])


def lowered(schedule: Plateau, losses: list[float]) -> list[float]:
    """The learning rate after each validation."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    scheduler = schedule.build(optimizer, total_steps=100)
    actual = []
    for loss in losses:
        optimizer.step()
        scheduler.step(loss)
        actual.append(optimizer.param_groups[0]["lr"])
    return actual


def test_plateau_lowers_the_rate_after_patience() -> None:
    # Two improvements, then three validations without: one more than the patience.
    losses = [1.0, 0.5, 0.6, 0.5, 0.7, 0.4, 0.45, 0.45, 0.45]
    assert lowered(Plateau(patience=2, factor=0.1), losses) == pytest.approx([LR] * 4 + [0.1 * LR] * 4 + [0.01 * LR])
    assert lowered(Plateau(patience=0, factor=0.5, final=0.25), [1.0] * 5) == pytest.approx(
        [LR, LR / 2, LR / 4, LR / 4, LR / 4]
    )


def test_plateau_mode_max_and_threshold() -> None:
    assert lowered(Plateau(patience=0, mode="max"), [0.5, 0.6, 0.7, 0.6]) == pytest.approx([LR] * 3 + [0.1 * LR])
    assert lowered(Plateau(patience=0, threshold=0.1), [1.0, 0.8, 0.75]) == pytest.approx([LR, LR, 0.1 * LR])


def plateau_run(folder: Path, **sections: Any) -> RunFolder:
    """Prepare a training that soon stops improving; each epoch has 6 steps."""
    file = folder / "classes.h5"
    content = experiments.raw(
        file if file.exists() else experiments.classification_file(folder),
        **{
            "model": {"name": "mlp", "width": 4, "depth": 1, "dropout": 0.5},
            "optimizer": {"name": "sgd", "lr": 2.0, "momentum": 0.9},
            "schedule": {"name": "plateau", "patience": 1, "factor": 0.5},
            "trainer": {"max_epochs": 8, "num_sanity_val_steps": 0, "log_every_n_steps": 1},
            **sections,
        },
    )
    return experiments.prepared(folder, content)


def halvings(run: RunFolder, every: int = 1, patience: int = 1) -> tuple[list[float], list[float]]:
    """Return the rates of the epochs as logged, and as computed from the logged losses."""
    journal = read_journal(run.journal)
    logged = [row["train/lr"] for row in journal if "train/lr" in row]
    losses = iter([row["val/loss"] for row in journal if "val/loss" in row])
    expected, rate, best, bad = [], 2.0, math.inf, 0
    for epoch in range(8):
        expected += [rate] * 6
        if (epoch + 1) % every == 0:
            loss = next(losses)
            bad = 0 if loss < best * (1 - 1e-4) else bad + 1
            best = loss if bad == 0 else best
            if bad > patience:
                rate, bad = rate / 2, 0
    return logged, expected


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_plateau_in_training(tmp_path: Path, every: int) -> None:
    trainer = {
        "max_epochs": 8, "num_sanity_val_steps": 0, "log_every_n_steps": 1, "check_val_every_n_epoch": every
    }  # fmt: skip
    schedule = {"name": "plateau", "patience": 0, "factor": 0.5}
    run = finish(plateau_run(tmp_path, trainer=trainer, schedule=schedule))
    logged, expected = halvings(run, every, patience=0)
    # A row has the rate after its step; the last row of an epoch is logged before the validation.
    assert logged == pytest.approx(expected)
    assert logged[-1] < 2.0, "it was never lowered"


@pytest.mark.slow
def test_plateau_resumes_bit_for_bit(tmp_path: Path) -> None:
    reference, run = plateau_run(tmp_path), plateau_run(tmp_path)
    finish(reference)
    finish(
        run,
        Stop(5),
        Stop(12, "on_validation_batch_start"),
        Stop(24, "on_train_epoch_end"),
        Stop(31, "on_train_batch_start"),
    )
    assert differences(run, reference) == []
    logged, _ = halvings(run)
    assert len(set(logged)) > 1, "the rate was never lowered"


def test_plateau_needs_validation(tmp_path: Path) -> None:
    trainer = {"max_epochs": 1, "limit_val_batches": 0}
    with pytest.raises(ConfigError) as caught:
        attempt(plateau_run(tmp_path, trainer=trainer))
    assert str(caught.value) == (
        "schedule.name: needs a validation, but this training has none (got 'plateau'). Provide a validation split "
        "(data.splits, trainer.limit_val_batches), or choose another schedule"
    )


def test_early_stopping_needs_validation(tmp_path: Path) -> None:
    trainer = {"max_epochs": 1, "limit_val_batches": 0, "early_stopping": {}}
    with pytest.raises(ConfigError, match=r"^trainer.early_stopping: needs a validation, but this training has none"):
        attempt(plateau_run(tmp_path, trainer=trainer, schedule={"name": "constant"}))
