"""Trainings whose loss or weights stop being finite."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from hpc_dl.errors import Diverged
from hpc_dl.runs import attempts
from hpc_dl.runs.checkpoints import listed
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from hpc_dl.training.stopping.divergence import Divergence
from hpc_dl.training.train import train
from tests import experiments
from tests.training.attempts import output, start, wait

pytestmark = pytest.mark.usefixtures("user_modules")


def prepared(folder: Path, file: Path, name: str = "Net", args: Any = None, **sections: Any) -> RunFolder:
    content = experiments.raw(
        file,
        model={"class": f"diverges.{name}", "args": args or {}},
        checkpoint={"every": "2 steps"},
        **{"trainer": {"max_epochs": 3}, **sections},
    )
    del content["optimizer"]
    return experiments.prepared(folder, content)


def weights_of_all_checkpoints(run: RunFolder) -> list[torch.Tensor]:
    files = [file.path for kind in ("step", "best") for file in listed(run.checkpoints, kind)]
    assert files
    states = [torch.load(file, weights_only=True)["state_dict"] for file in files]
    return [value for state in states for name, value in state.items() if name != "mask"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Net", "Weights", "Manual"])
def test_divergence_ends_the_training_and_keeps_good_checkpoints(tmp_path: Path, image_file: Path, name: str) -> None:
    run = prepared(tmp_path, image_file, name)
    with pytest.raises(Diverged, match=r"^training: diverged: .* at step (8|9|10) "):
        train(run)
    state = read_state(run)
    assert (state["state"], state["attempt"]) == ("diverged", 0)
    assert 8 <= state["step"] <= 10
    assert "learning rate 0.1, gradient norm" in state["reason"]
    assert "the last good checkpoint is of step" in state["reason"]
    assert attempts.history(run)[-1]["state"] == "diverged"
    assert listed(run.checkpoints, "step")[-1].step >= 6
    assert all(value.isfinite().all() for value in weights_of_all_checkpoints(run))


def test_shipped_architecture_that_diverges_in_its_first_steps(tmp_path: Path, image_file: Path) -> None:
    run = experiments.prepared(tmp_path, experiments.raw(image_file, optimizer={"name": "sgd", "lr": 1e30}))
    with pytest.raises(Diverged, match="no checkpoint was saved before"):
        train(run)
    assert "learning rate 1e+30" in read_state(run)["reason"]
    assert not run.result.exists() and not listed(run.checkpoints, "best")


@pytest.mark.slow
def test_divergence_between_two_rows_is_found_before_the_checkpoint(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, trainer={"max_epochs": 3, "log_every_n_steps": 1000, "max_steps": 11})
    with pytest.raises(Diverged, match="the loss is no longer finite at step 10 "):
        train(run)
    assert [file.step for file in listed(run.checkpoints, "step")][-1] == 8


@pytest.mark.slow
def test_training_that_continues_never_replaces_a_good_checkpoint(tmp_path: Path, image_file: Path) -> None:
    run = prepared(tmp_path, image_file, trainer={"max_epochs": 3, "on_nan": "continue"})
    train(run)
    assert read_state(run)["state"] == "finished"
    assert run.log(0).read_text().count("The training continues (trainer.on_nan: continue)") == 1
    assert listed(run.checkpoints, "step")[-1].step == 8
    assert all(value.isfinite().all() for value in weights_of_all_checkpoints(run))


@pytest.mark.slow
def test_ranks_agree_when_one_of_them_diverges(tmp_path: Path, image_file: Path) -> None:
    resources = {"gpus_per_node": 0, "nodes": 2}
    args = {"only_rank": 1, "at": 4}
    # Few steps between two rows, since the gradients carry the NaN to all ranks at once.
    run = prepared(tmp_path, image_file, args=args, resources=resources, data={"batch_size": 4})
    assert wait(start(run)) == 1
    assert read_state(run)["state"] == "diverged", output(run)
    assert all(value.isfinite().all() for value in weights_of_all_checkpoints(run))


def trainer_with_scale(*scales: float) -> Any:
    """A Trainer whose scaler of 16-bit gradients has these scales, one after the other."""
    values = iter(scales)
    scaler = SimpleNamespace(get_scale=lambda: next(values))
    return SimpleNamespace(
        precision_plugin=SimpleNamespace(scaler=scaler),
        lightning_module=torch.nn.Linear(2, 2),
        optimizers=[],
        global_step=5,
    )


def test_steps_that_the_scaler_skips_do_not_count() -> None:
    divergence = Divergence("stop", print)
    trainer = trainer_with_scale(65536.0, 32768.0, 16384.0)
    divergence.start(trainer)
    for _ in range(2):
        divergence.inspect(trainer, {"train/loss": float("inf")})
    assert not divergence.must_stop


@pytest.mark.parametrize("scale", [65536.0, 2.0**-21], ids=["no-step-was-skipped", "all-steps-are-skipped"])
def test_loss_counts_with_a_scaler(scale: float) -> None:
    divergence = Divergence("stop", print)
    trainer = trainer_with_scale(65536.0 if scale > 1 else 2.0**-20, scale)
    divergence.start(trainer)
    divergence.inspect(trainer, {"train/loss": float("nan")})
    assert divergence.reason == "train/loss is nan at step 5"


def test_metric_other_than_a_loss_may_be_undefined() -> None:
    divergence = Divergence("stop", print)
    trainer = SimpleNamespace(precision_plugin=None, lightning_module=torch.nn.Linear(2, 2))
    divergence.inspect(trainer, {"train/f1": float("nan"), "train/gradient_norm": float("inf")})  # type: ignore[arg-type]
    assert not divergence.reason


def test_weight_that_is_infinite_from_the_start_does_not_count() -> None:
    layer = torch.nn.Linear(2, 2)
    layer.weight.data[0, 0] = -torch.inf
    divergence = Divergence("stop", print)
    trainer = SimpleNamespace(precision_plugin=None, lightning_module=layer, global_step=0)
    divergence.start(trainer)  # type: ignore[arg-type]
    group = SimpleNamespace(highest_now=lambda value: value)
    assert divergence.may_save(trainer, group)  # type: ignore[arg-type]
