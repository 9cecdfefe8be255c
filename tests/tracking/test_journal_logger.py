"""The journal with a real Trainer.

Merging the files of several attempts relies on the steps that Lightning assigns to rows.
"""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from torch.utils.data import DataLoader, TensorDataset

from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.journal_logger import JournalLogger

BATCHES = 4


class Tiny(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("train/loss", loss, on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.layer(batch[0]).square().mean())

    def test_step(self, batch, batch_idx):
        self.log("test/loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class FailAt(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise KeyError("simulated node failure")


def loader() -> DataLoader:
    inputs = torch.randn(2 * BATCHES, 3, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(inputs), batch_size=2)


def attempt(folder: Path, number: int = 0, checkpoint: Path | None = None, fail_at: int = -1) -> None:
    from_step = torch.load(checkpoint, weights_only=False)["global_step"] if checkpoint else 0
    journal = JournalLogger(folder / "journal", attempt=number, from_step=from_step)
    keep = ModelCheckpoint(folder, filename=f"{number}-{{step}}", save_top_k=-1, save_on_train_epoch_end=True)
    trainer = Trainer(
        max_epochs=3,
        logger=journal,
        callbacks=[keep, FailAt(fail_at)],
        log_every_n_steps=1,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    model = Tiny()
    trainer.fit(model, loader(), loader(), ckpt_path=checkpoint, weights_only=False)
    trainer.test(model, loader(), verbose=False)
    journal.close()


def history(folder: Path) -> list[dict]:
    rows = read_journal(folder / "journal")
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


@pytest.mark.filterwarnings("ignore")
def test_interrupted_run_has_the_history_of_an_uninterrupted_one(tmp_path):
    attempt(tmp_path / "uninterrupted")
    with pytest.raises(KeyError):
        attempt(tmp_path / "interrupted", fail_at=6)
    lost = history(tmp_path / "interrupted")
    assert [row["step"] for row in lost] == [0, 1, 2, 3, 4, 5]
    (checkpoint,) = (tmp_path / "interrupted").glob("*.ckpt")
    attempt(tmp_path / "interrupted", number=1, checkpoint=checkpoint)

    rows = history(tmp_path / "uninterrupted")
    assert [row["step"] for row in rows] == list(range(3 * BATCHES + 1))
    assert [row["step"] for row in rows if "val/loss" in row] == [3, 7, 11]
    assert [row["step"] for row in rows if "test/loss" in row] == [12]
    assert [row["epoch"] for row in rows[:12]] == [0] * 4 + [1] * 4 + [2] * 4
    assert history(tmp_path / "interrupted") == rows


def test_only_rank_zero_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    journal = JournalLogger(tmp_path / "journal")
    journal.experiment.write({"a": 1.0}, 0)
    journal.log_metrics({"a": 1.0}, 0)
    journal.sync()
    journal.close()
    assert not (tmp_path / "journal").exists()


def test_epoch_is_an_integer_and_closing_twice_is_allowed(tmp_path):
    journal = JournalLogger(tmp_path, attempt=3)
    journal.sync()  # a checkpoint before the first row
    journal.log_metrics({"train/loss": 1.0, "epoch": 2.0}, step=5)
    journal.sync()
    journal.finalize("success")
    journal.log_metrics({"test/loss": 1.0}, step=6)
    journal.close()
    journal.close()
    journal.sync()
    first, second = read_journal(tmp_path)
    assert (first["epoch"], second["epoch"], journal.version) == (2, None, 3)
    assert isinstance(first["epoch"], int)
