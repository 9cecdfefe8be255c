"""A training with all kinds of state that can be entered at any position, to compare its bits."""

import io
import os
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MulticlassPrecision,
)
from torchmetrics.wrappers import MinMaxMetric, Running

from hpc_dl.training.lightning import rank_state
from hpc_dl.training.lightning.epoch_loop import EpochLoop, Position

BATCHES = 6
EPOCHS = 2
RANKS = int(os.environ.get("WORLD_SIZE", 1))  # read once: Lightning deletes it when a training ends

#: The bits of each metric and weight, by epoch and batch.
Rows = dict[tuple[int, float], dict[str, bytes]]


class Net(pl.LightningModule):
    """Logs in every way that Lightning offers, and draws from every random generator."""

    logged_metrics = ("accuracy", "auroc")
    prog_bar = True

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))
        self.accuracy = MulticlassAccuracy(3)
        self.auroc = MulticlassAUROC(3, thresholds=None)  # its states are lists
        # Compute groups that share tensors, and lists
        self.group = MetricCollection([MulticlassF1Score(3), MulticlassPrecision(3)], prefix="group/")
        self.curves = MetricCollection([MulticlassAUROC(3), MulticlassAveragePrecision(3)])
        self.losses = torch.nn.ModuleDict({"mean": MeanMetric(), "recent": Running(MeanMetric(), window=3)})
        self.extremes = MinMaxMetric(MulticlassAccuracy(3))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.log("started", float(batch_idx), on_step=False, on_epoch=True, reduce_fx="sum")

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        outputs = self.layers(x)
        loss = torch.nn.functional.cross_entropy(outputs, y)
        probabilities = outputs.detach().softmax(1)
        both: dict[str, Any] = {"on_step": True, "on_epoch": True}
        self.log("loss", loss, prog_bar=self.prog_bar, **both)
        self.log("loss_of_all", loss, sync_dist=True, **both)
        self.log("draws", random.random() + np.random.standard_normal() + torch.rand(()).item(), **both)
        self.log("double", loss.double() / 3, batch_size=2, **both)
        self.log("largest", loss, reduce_fx="max", sync_dist=True, **both)
        self.log("least", loss, reduce_fx=min, **both)
        self.log("total", loss, reduce_fx=torch.sum, on_step=False, on_epoch=True)
        if batch_idx % 4 == 0:
            self.log("sometimes", loss, on_step=True, on_epoch=False)
        for name in self.logged_metrics:
            metric = getattr(self, name)
            metric(probabilities, y)
            self.log(name, metric, **both)
        self.group.update(probabilities, y)
        self.log_dict(self.group, on_step=False, on_epoch=True)
        self.curves.update(probabilities, y)
        for metric in self.losses.values():
            metric.update(loss)
        self.extremes.update(probabilities, y)
        return loss

    def on_train_epoch_end(self) -> None:
        for name, metric in self.losses.items():
            self.log(f"losses/{name}", metric.compute())
        self.log_dict(self.curves.compute())
        self.losses["mean"].reset()
        self.curves.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", torch.nn.functional.cross_entropy(self.layers(batch[0]), batch[1]), sync_dist=True)
        self.log("val/least", self.extremes.compute()["min"])
        self.log("val/mean", next(iter(self.losses.values())).compute())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.3)


class BatchOrder:
    """Batches of different sizes; the first epoch starts at batch ``first``."""

    def __init__(self, first: int = 0) -> None:
        self.first = first

    def __iter__(self) -> Iterator[list[int]]:
        first, self.first = self.first, 0
        for number in range(first, BATCHES):
            yield list(range(5 * number, 5 * number + 2 + number % 3))

    def __len__(self) -> int:
        return BATCHES


class Journal(DummyLogger):
    """A logger that returns what was logged since it was last read."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:  # type: ignore[override]
        self.lines.append({**metrics, "step": step})

    def read(self) -> dict[str, bytes]:
        lines, self.lines = self.lines, []
        return {
            f"{number}:{name}": np.asarray(value).tobytes()
            for number, line in enumerate(lines)
            for name, value in line.items()
        }


class Recorder(Callback):
    """Records the bits of all that a user sees after each batch and epoch, and of all logs."""

    def __init__(self) -> None:
        self.rows: Rows = {}

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.rows[trainer.current_epoch, batch_idx] = bits(trainer)
        self.rows[trainer.current_epoch, batch_idx - 0.5] = trainer.logger.read()

    def on_train_epoch_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.on_train_batch_end(trainer, module, None, None, BATCHES)

    def on_fit_end(self, trainer: pl.Trainer, module: Any) -> None:
        self.rows[EPOCHS, 0] = bits(trainer)
        self.rows[EPOCHS, 1] = trainer.logger.read()


def bits(trainer: pl.Trainer) -> dict[str, bytes]:
    """Return the bits of all metrics and weights."""
    values: dict[str, Any] = {
        f"{kind}:{name}": value
        for kind in ("callback", "logged", "progress_bar")
        for name, value in getattr(trainer, f"{kind}_metrics").items()
    }
    values |= trainer.lightning_module.state_dict()
    return {name: torch.as_tensor(value).cpu().numpy().tobytes() for name, value in values.items()}


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def data(first: int = 0) -> DataLoader[Any]:
    """Return this rank's batches; a DataLoader draws a random number in each epoch."""
    generator = torch.Generator().manual_seed(rank())
    x, y = torch.randn(5 * BATCHES, 5, generator=generator), torch.randint(3, (5 * BATCHES,), generator=generator)
    return DataLoader(TensorDataset(x, y), batch_sampler=BatchOrder(first))


def fit(
    entry: tuple[Position, bytes] | None = None,
    *,
    save: bool = False,
    module: type[Net] = Net,
    without: str = "",
    accelerator: str = "cpu",
) -> tuple[Rows, dict[Position, bytes], list[str]]:
    """Train, from the start or from a checkpoint.

    Args:
        entry: the position of the checkpoint and its content; ``None`` for the start.
        save: whether to save a checkpoint at each position.
        module: the module.
        without: a part of the rank's state that is not restored.
        accelerator: the device.

    Returns:
        What a user sees, by epoch and batch; the checkpoint of each position; the warnings of
        restore().
    """
    pl.seed_everything(1 + rank() + (99 if entry else 0), verbose=False)
    recorder, net = Recorder(), module()
    captured: dict[Position, dict[str, Any]] = {}
    warnings: list[str] = []

    def at_boundary() -> None:
        if save:
            weights = {name: value.cpu().clone() for name, value in net.state_dict().items()}
            state = {"rank": rank_state.capture(trainer), "weights": weights, "progress": loop.progress()}
            captured[loop.position] = state

    def restore() -> None:
        fresh = rank_state.capture(trainer)
        warnings.extend(
            rank_state.restore(trainer, checkpoint["rank"] | ({without: fresh[without]} if without else {}))
        )

    trainer = pl.Trainer(
        max_epochs=EPOCHS,
        accelerator=accelerator,
        strategy="ddp" if RANKS > 1 else "auto",
        devices=RANKS,
        val_check_interval=2,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        use_distributed_sampler=False,
        logger=Journal(),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[recorder],
    )
    loop = EpochLoop(trainer, at_boundary, before_validation=at_boundary)
    if entry is not None:
        checkpoint = torch.load(io.BytesIO(entry[1]), weights_only=True)
        net.load_state_dict(checkpoint["weights"])
        loop.enter_at(entry[0], checkpoint["progress"], restore)
    trainer.fit(net, data(entry[0].batch if entry else 0), DataLoader(data().dataset, batch_size=7))
    # Serialized only now: the captured state must not have changed with the training.
    return recorder.rows, {position: serialized(state) for position, state in captured.items()}, warnings


def serialized(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def after(rows: Rows, position: Position) -> Rows:
    """Return the rows after a position; a validation that is due there is not compared."""
    return {key: row for key, row in rows.items() if key >= (position.epoch, position.batch)}


MIDDLE = Position(0, 3)
