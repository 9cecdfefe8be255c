"""The networks that are trained, each with the length of its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from hpc_dl.learning.optimizers import OPTIMIZERS
from hpc_dl.learning.schedules import SCHEDULES


@dataclass(frozen=True)
class Network:
    """A network and its training.

    Attributes:
        model: the section ``model`` of the configuration.
        steps: optimizer steps of the training.
        interval: number of steps that are timed as one.
    """

    model: dict[str, Any]
    steps: int
    interval: int


NETWORKS = {
    "small MLP": Network({"name": "mlp", "depth": 1, "width": 64}, steps=2000, interval=50),
    "MLP": Network({"name": "mlp", "depth": 2, "width": 256, "dropout": 0.1}, steps=1000, interval=50),
    "CNN": Network({"name": "cnn", "channels": [32, 64], "dropout": 0.25}, steps=45, interval=5),
    "LSTM": Network({"class": "benchmarks.step.networks.LSTM"}, steps=300, interval=20),
}
OPTIMIZER: dict[str, Any] = {"name": "adamw", "lr": 1e-3}
SCHEDULE: dict[str, Any] = {"name": "cosine", "warmup_steps": 100}


class LSTM(pl.LightningModule):
    """An LSTM that reads an image row by row (Hochreiter and Schmidhuber, 1997)."""

    def __init__(self) -> None:
        super().__init__()
        self.rows = nn.LSTM(28, 64, batch_first=True)
        self.head = nn.Linear(64, 10)

    def loss(self, batch: Any) -> torch.Tensor:
        x, y = batch
        states, _ = self.rows(x.squeeze(1))
        return nn.functional.cross_entropy(self.head(states[:, -1]), y)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = OPTIMIZERS[OPTIMIZER["name"]](**OPTIMIZER).build(self.parameters())
        scheduler = SCHEDULES[SCHEDULE["name"]](**SCHEDULE).build(optimizer, NETWORKS["LSTM"].steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
