"""The rows of the journal, compared with a training loop written by hand."""

import itertools
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.data.open_spec import open_spec
from hpc_dl.data.order.batch_order import BatchOrder
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.model_building import build_model
from hpc_dl.training.train import train
from tests import experiments
from tests.training import modules

SEED, BATCH, LR = 7, 8, 0.5


def _slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


def reference_training(
    run: RunFolder, file: Path, *, epochs: int, accumulate: int = 1, batches: int = 6, max_steps: int = 10**9
) -> tuple[list[float], list[int], list[float], torch.nn.Module]:
    """Plain SGD: loss and step of each batch, gradient norm of each step, trained network."""
    with h5py.File(file) as data:
        x, y = data["train/inputs"][()].astype(np.float32), torch.from_numpy(data["train/targets"][()])
    inputs = torch.from_numpy((x - x.min()) / (x.max() - x.min()))
    experiment = Experiment.from_dict(yaml.load(run.config))
    pl.seed_everything(SEED, verbose=False)
    model = build_model(experiment, open_spec(experiment.data))
    losses, steps, norms, step = [], [], [], 0
    for epoch in range(epochs):
        order = BatchOrder(len(y), BATCH, training=True, seed=SEED)
        order.set_epoch(epoch)
        for batch, numbers in enumerate(itertools.islice(order, batches)):
            rows = torch.from_numpy(numbers)
            loss = torch.nn.functional.cross_entropy(model(inputs[rows]), y[rows])
            (loss / accumulate).backward()
            losses.append(loss.item())
            steps.append(step + 1)
            if (batch + 1) % accumulate == 0 or batch + 1 == batches:
                step += 1
                norms.append(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= LR * parameter.grad
                model.zero_grad()
                if step == max_steps:
                    return losses, steps, norms, model
    return losses, steps, norms, model


def mean_losses(losses: list[float], steps: list[int], row_steps: list[int]) -> list[float]:
    """The mean over the batches since the previous row, for rows written at these steps."""
    return [
        float(np.mean([loss for loss, step in zip(losses, steps, strict=True) if previous < step <= row_step]))
        for previous, row_step in zip([0, *row_steps], row_steps, strict=False)
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "reference", "row_steps"),
    [
        ({"max_epochs": 2, "log_every_n_steps": 1}, {"epochs": 2}, list(range(1, 13))),
        # every four steps, and at the end of each epoch
        _slow({"max_epochs": 2, "log_every_n_steps": 4}, {"epochs": 2}, [4, 6, 10, 12]),
        _slow({"max_epochs": 2, "log_every_n_steps": 50}, {"epochs": 2}, [6, 12]),
        # six batches in steps of four: the second step of an epoch has only two
        (
            {"max_epochs": 2, "log_every_n_steps": 1, "accumulate_grad_batches": 4},
            {"epochs": 2, "accumulate": 4},
            [1, 2, 3, 4],
        ),
        _slow(
            {"max_epochs": 2, "log_every_n_steps": 2, "accumulate_grad_batches": 2},
            {"epochs": 2, "accumulate": 2},
            [2, 3, 5, 6],
        ),
        _slow(
            {"max_epochs": 2, "log_every_n_steps": 3, "limit_train_batches": 4},
            {"epochs": 2, "batches": 4},
            [3, 4, 7, 8],
        ),
        ({"max_epochs": None, "max_steps": 8, "log_every_n_steps": 3}, {"epochs": 2, "max_steps": 8}, [3, 6]),
        _slow({"max_epochs": None, "max_steps": 9, "log_every_n_steps": 3}, {"epochs": 2, "max_steps": 9}, [3, 6, 9]),
    ],
)
def test_training_loss_of_each_row(
    tmp_path: Path, image_file: Path, trainer: dict[str, Any], reference: dict[str, Any], row_steps: list[int]
) -> None:
    content = experiments.raw(image_file, optimizer={"name": "sgd", "lr": LR}, trainer=trainer, seed=SEED)
    run = experiments.prepared(tmp_path, content)
    train(run)
    rows = [row for row in read_journal(run.journal) if "train/loss" in row]
    losses, steps, norms, model = reference_training(run, image_file, **reference)
    assert [row["step"] for row in rows] == row_steps
    assert [row["train/loss"] for row in rows] == pytest.approx(mean_losses(losses, steps, row_steps), rel=1e-4)
    gradient_norms = [norms[step - 1] for step in row_steps]
    assert [row["train/gradient_norm"] for row in rows] == pytest.approx(gradient_norms, rel=1e-4)
    assert {row["train/lr"] for row in rows} == {LR}
    assert all(row["train/samples_per_s"] > 0 for row in rows)
    last = torch.load(run.last_checkpoint, weights_only=True)["state_dict"]
    for key, value in model.named_parameters():
        torch.testing.assert_close(last[key], value.detach(), rtol=1e-4, atol=1e-6)


def test_bfloat16_losses_are_summed_in_float32(
    tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules.enter(monkeypatch)
    trainer = {"precision": "bf16-true", "log_every_n_steps": 50}
    content = experiments.raw(image_file, model={"class": "constant_loss.Net"}, trainer=trainer)
    run = experiments.prepared(tmp_path, content)
    train(run)
    assert [row["train/loss"] for row in read_journal(run.journal)] == [1.0078125]


def test_validation_and_learning_rate_of_each_row(tmp_path: Path, image_file: Path) -> None:
    schedule = {"name": "cosine", "warmup_steps": 2}
    run = experiments.prepared(
        tmp_path,
        experiments.raw(image_file, optimizer={"name": "sgd", "lr": LR}, schedule=schedule, trainer={"max_epochs": 2}),
    )
    train(run)
    rows = read_journal(run.journal)
    assert [row["step"] for row in rows] == [*range(1, 13)], "steps are counted from 1, with a row for each"
    assert [row["step"] for row in rows if "val/loss" in row] == [6, 12]
    assert [row["epoch"] for row in rows[:-1]] == [0] * 6 + [1] * 5  # the last row is that of the test
    # The row of step n holds the rate of step n + 1.
    rates = [LR * 2 / 3] + [LR * (1 + math.cos(math.pi * step / 10)) / 2 for step in range(11)]
    assert [row["train/lr"] for row in rows] == pytest.approx(rates, abs=1e-12)
