"""Splits and metrics in the names that users' modules log."""

import pytest

from hpc_dl.learning.direction import known_direction
from hpc_dl.learning.metric_names import split_and_metric, values_of_epochs, without_forks
from hpc_dl.training.stopping.monitor import choose


@pytest.mark.parametrize(
    ("name", "split", "metric"),
    [
        ("val/loss", "val", "loss"),
        ("val_loss", "val", "loss"),
        ("valid_loss", "val", "loss"),
        ("valid/acc", "val", "acc"),
        ("validation_x", "val", "x"),
        ("val-loss", "val", "loss"),
        ("valLoss", "val", "Loss"),
        ("TestF1Score", "test", "F1Score"),
        ("VAL_LOSS", "val", "LOSS"),
        ("avg_val_loss", "val", "avg_loss"),
        ("loss/val", "val", "loss"),
        ("metrics/val/loss", "val", "metrics/loss"),
        ("test_acc", "test", "acc"),
        ("train_loss_epoch", "train", "loss_epoch"),
        ("val_loss/dataloader_idx_1", "val", "loss/dataloader_idx_1"),
        ("val", "val", "val"),
        ("g_loss", None, "g_loss"),
        ("value", None, "value"),
        ("interval", None, "interval"),
        ("constraint_loss", None, "constraint_loss"),
        ("latest", None, "latest"),
    ],
)
def test_split_and_metric_of_a_name(name: str, split: str | None, metric: str) -> None:
    assert split_and_metric(name) == (split, metric)


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("val_acc", "max"),
        ("val_acc_top1", "max"),
        ("val_mAP@50", "max"),
        ("validation/f1score", "max"),
        ("val_loss_epoch", "min"),
        ("val_error_rate", "min"),
        ("val_kl_div", "min"),
        ("val_dice_loss", "min"),
        ("val_rmse/dataloader_idx_0", "min"),
        ("val_lr", None),
        ("val_gap", None),
    ],
)
def test_direction_follows_from_the_name(name: str, direction: str | None) -> None:
    assert known_direction(name) == direction


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        (["val_acc", "val_loss", "val_kl"], "val_loss"),
        (["val_acc", "valid_loss"], "valid_loss"),
        (["val_recon_loss", "val_kl_loss", "val_loss"], "val_loss"),
        (["val_loss/dataloader_idx_1", "val_loss/dataloader_idx_0"], "val_loss/dataloader_idx_0"),
        (["val_loss", "val_loss_epoch", "val_loss_step"], "val_loss"),
        (["avg_val_loss", "val_acc"], "avg_val_loss"),
        (["val_recon_loss", "val_acc"], "val_recon_loss"),
        (["val_mse", "val_r2"], "val_mse"),
        (["val_acc", "val_x"], "val_acc"),
        (["val_x"], None),
        ([], None),
    ],
)
def test_validation_loss_is_chosen(names: list[str], chosen: str | None) -> None:
    assert choose(names) == chosen


def test_name_with_values_per_step_and_per_epoch_is_left_out() -> None:
    assert without_forks({"a", "a_step", "a_epoch", "b", "b_step"}) == {"a_step", "a_epoch", "b", "b_step"}


def test_table_shows_the_value_of_the_epoch() -> None:
    logged = {"train_acc": 0.3, "train_acc_step": 0.3, "train_acc_epoch": 0.2, "b": 1.0, "b_step": 2.0}
    assert values_of_epochs(logged) == {"train_acc": 0.2, "b": 1.0, "b_step": 2.0}
