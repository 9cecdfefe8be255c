"""Metrics that users' own modules log under names of their own."""

from pathlib import Path

import pytest

from hpc_dl.cli.output import result_table
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.training.train import train
from tests.training.test_user_modules import prepared

pytestmark = pytest.mark.usefixtures("user_modules")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, image_file: Path) -> RunFolder:
    """Two epochs of six steps of a module that logs ``val_loss`` and others."""
    with pytest.MonkeyPatch.context() as patch:
        from tests.training import modules

        modules.enter(patch)
        run = prepared(tmp_path_factory.mktemp("own"), image_file, "logs_by_underscore.Net", max_epochs=2)
        train(run)
    return run


@pytest.mark.slow
def test_all_metrics_of_a_moment_form_one_row(run: RunFolder) -> None:
    rows = {row["step"]: row for row in read_journal(run.journal)}
    assert sorted(rows) == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    assert {"train/loss", "train_loss_step", "g_loss"} <= set(rows[1])
    end_of_epoch = {"val_loss", "val_acc", "train_f1", "train_loss_epoch", "g_loss", "train/loss", "logged/time"}
    assert end_of_epoch <= set(rows[6]) & set(rows[12])
    assert {"test_acc", "test_loss"} <= set(rows[12]) - set(rows[6])
    assert [rows[step]["epoch"] for step in (1, 6, 7, 12)] == [0, 0, 1, 1]


@pytest.mark.slow
def test_each_value_of_a_step_is_that_of_the_built_in_metric(run: RunFolder) -> None:
    for row in read_journal(run.journal):
        assert row["train_loss_step"] == pytest.approx(row["train/loss"])


def test_epoch_line_has_all_names(run: RunFolder) -> None:
    lines = [line for line in run.log(0).read_text().splitlines() if "epoch 2/2" in line]
    assert len(lines) == 1
    for name in ("train/loss", "train_loss_epoch", "g_loss", "train_f1 1.5", "val_loss", "val_acc 2"):
        assert f"  {name}" in lines[0]


def test_result_has_the_values_of_the_best_epoch(run: RunFolder) -> None:
    metrics = read_json(run.result)["metrics"]
    assert metrics["train_f1"] == metrics["val_acc"] - 0.5
    assert {"val_loss", "test_acc", "test_loss", "g_loss", "train_loss_epoch"} <= set(metrics)


@pytest.mark.slow
def test_result_table_groups_names_by_split(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    result_table({"run": "r", "metrics": {"val_acc": 0.5, "test_acc": 0.25, "valid/f1": 0.1, "g_loss": 3.0}})
    table = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert table == [
        ["metric", "train", "val", "test", "no", "split"], ["acc", "0.5", "0.25"], ["f1", "0.1"], ["g_loss", "3"]
    ]  # fmt: skip


def test_validation_loss_is_monitored(run: RunFolder) -> None:
    assert "The best weights are those with the lowest val_loss (checkpoint.monitor: auto)." in run.log(0).read_text()
