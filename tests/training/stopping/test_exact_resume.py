"""A training that real signals stop resumes exactly: it is bit for bit the uninterrupted one.

Compared is all that a run leaves: both checkpoints with weights, optimizers, schedules, counters
and random states, the journal, and the result.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl.regular_files import read_json
from hpc_dl.runs import attempts as history
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from tests.training.attempts import Stop, finish
from tests.training.stopping.interrupted_runs import BATCHES, prepared, seeded_stops

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("trainer", "steps", "stops"),
    [
        ({}, 3 * BATCHES, 10),
        pytest.param({"accumulate_grad_batches": 5, "max_epochs": 2}, 2 * 5, 4, marks=pytest.mark.slow),
        pytest.param({"val_check_interval": 7}, 3 * BATCHES, 6, marks=pytest.mark.slow),
        ({"val_check_interval": 0.25, "accumulate_grad_batches": 4}, 3 * 6, 6),
        pytest.param({"limit_train_batches": 11, "limit_val_batches": 2}, 3 * 11, 5, marks=pytest.mark.slow),
        ({"limit_train_batches": 0.5, "val_check_interval": 0.5}, 3 * 12, 5),
        pytest.param({"max_epochs": None, "max_steps": 59}, 59, 5, marks=pytest.mark.slow),
        ({"max_epochs": 5, "max_steps": 50, "val_check_interval": 5}, 50, 6),
        pytest.param({"max_epochs": 4, "check_val_every_n_epoch": 2}, 4 * BATCHES, 5, marks=pytest.mark.slow),
        ({"precision": "bf16-mixed", "gradient_clip_val": 0.5, "num_sanity_val_steps": 2}, 3 * BATCHES, 5),
        pytest.param({"limit_val_batches": 0}, 3 * BATCHES, 4, marks=pytest.mark.slow),
    ],
    ids=lambda value: "-".join(value) or "plain" if isinstance(value, dict) else "",
)
def test_stops_at_arbitrary_steps(
    tmp_path: Path,
    many_images: Path,
    trainer: dict[str, Any],
    steps: int,
    stops: int,
    uninterrupted: Callable[..., RunFolder],
) -> None:
    points = seeded_stops(steps, stops)
    if trainer.get("limit_val_batches") == 0:
        points = [Stop(stop.step) for stop in points]
    reference = uninterrupted(trainer=trainer)
    run = finish(prepared(tmp_path, many_images, trainer=trainer), *points)
    assert differences(run, reference) == []
    assert read_json(run.result)["steps"] == steps
    ended = [line["state"] for line in history.history(run) if line["event"] == "ended"]
    assert ended == ["stopped"] * (len(ended) - 1) + ["finished"] and len(ended) > 0.6 * stops


@pytest.mark.usefixtures("user_modules")
@pytest.mark.parametrize(
    ("module", "trainer", "steps"),
    [
        pytest.param("logs_everything", {}, 3 * BATCHES, marks=pytest.mark.slow),
        ("logs_everything", {"accumulate_grad_batches": 3, "val_check_interval": 7}, 3 * 8),
        ("two_optimizers", {"max_epochs": 2}, 2 * 36),
        pytest.param(
            "two_optimizers", {"max_epochs": None, "max_steps": 50, "val_check_interval": 5}, 50, marks=pytest.mark.slow
        ),
        ("plateau_and_early_stopping", {"max_epochs": 40, "val_check_interval": 5}, 40),
        pytest.param("plateau_and_early_stopping", {"max_epochs": 40}, 60, marks=pytest.mark.slow),
    ],
    ids=["logging", "logging-accumulating", "two-optimizers", "two-optimizers-max-steps", "early-mid-epoch", "early"],
)
def test_user_module_stopped_at_arbitrary_steps(
    tmp_path: Path, many_images: Path, module: str, trainer: dict[str, Any], steps: int
) -> None:
    model = {"class": f"{module}.Net"}
    reference = finish(prepared(tmp_path, many_images, model=model, trainer=trainer))
    run = finish(prepared(tmp_path, many_images, model=model, trainer=trainer), *seeded_stops(steps, 6))
    assert differences(run, reference) == []
    if "max_steps" not in trainer and module == "plateau_and_early_stopping":
        assert read_json(run.result)["epochs"] < trainer["max_epochs"], "it was not stopped early"
        rates = {row["train/lr"] for row in read_journal(run.journal) if "train/lr" in row}
        assert len(rates) > 1, "the learning rate was never reduced"


def test_comparison_finds_a_single_bit(tmp_path: Path, many_images: Path) -> None:
    reference, run = (finish(prepared(tmp_path, many_images, trainer={"max_epochs": 1})) for _ in range(2))
    assert differences(run, reference) == []
    path = run.last_checkpoint.resolve()
    content = torch.load(path, weights_only=False)
    weight = content["state_dict"]["features.0.0.weight"]
    weight.view(-1)[3] = torch.nextafter(weight.view(-1)[3], torch.tensor(9.0))
    content["hpc_dl"]["ranks"][0]["state"]["random"]["torch"][100] ^= 1
    torch.save(content, path)
    assert {difference.where for difference in differences(run, reference)} == {
        "last.ckpt/state_dict/features.0.0.weight", "last.ckpt/hpc_dl/ranks/0/state/random/torch"
    }  # fmt: skip


@pytest.mark.parametrize("interval", [1.0, 7], ids=["after-epochs", "mid-epoch"])
def test_early_stopping_continues_to_count(
    tmp_path: Path, many_images: Path, interval: float, capfd: pytest.CaptureFixture[str]
) -> None:
    sections = {
        "trainer": {"max_epochs": 40, "early_stopping": {"patience": 3}, "val_check_interval": interval},
        "optimizer": {"name": "sgd", "lr": 1.0},
    }
    reference = finish(prepared(tmp_path / "uninterrupted", many_images, **sections))
    result = read_json(reference.result)
    validations = [row["val/loss"] for row in read_journal(reference.journal) if "val/loss" in row]
    assert result["epochs"] < 40 and len(validations) >= 5
    assert min(validations) == validations[-4], "the last three validations improved"
    assert "Early stopping after step" in capfd.readouterr().err
    steps = result["steps"]
    in_the_last_validation = Stop(steps, "on_validation_batch_start", batch=1)
    stops = [*seeded_stops(steps, 4), in_the_last_validation]
    run = finish(prepared(tmp_path / "stopped", many_images, **sections), *stops)
    assert differences(run, reference) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="16-mixed needs a GPU")
def test_loss_scaling(tmp_path: Path, many_images: Path) -> None:
    sections: dict[str, Any] = {
        "trainer": {"precision": "16-mixed", "accelerator": "gpu", "deterministic": True},
        "resources": {"gpus_per_node": 1},
    }
    reference = finish(prepared(tmp_path, many_images, **sections))
    run = finish(prepared(tmp_path, many_images, **sections), *seeded_stops(3 * BATCHES))
    assert differences(run, reference) == []
