"""Your own LightningModule. hpc_dl finds it by ``model: {class: my_model.MyModel}``."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from hpc_dl import DataSpec


class MyModel(pl.LightningModule):
    """A network with one hidden layer that classifies samples of any fixed shape.

    Metrics are named ``train/…``, ``val/…`` and ``test/…``: `hpc-dl results` and W&B group them by
    these prefixes, and ``checkpoint.monitor`` names one of them.
    """

    def __init__(self, data: DataSpec, width: int = 64, lr: float = 1e-3) -> None:
        """Build the layers.

        Args:
            data: shapes and classes of the data set; hpc_dl passes it to a parameter of this name.
            width: units of the hidden layer (``model.args.width`` in the YAML).
            lr: learning rate (``model.args.lr``).
        """
        super().__init__()
        self.lr = lr
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(data.input_shape), width),
            nn.ReLU(),
            nn.Linear(width, data.num_outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map scaled inputs (B, *data.input_shape) to class scores (B, data.num_outputs)."""
        scores: Tensor = self.layers(x)
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch; hpc_dl logs it as ``train/loss``."""
        x, y = batch
        return functional.cross_entropy(self(x), y)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``val/loss`` and ``val/accuracy``."""
        self._evaluate("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log ``test/loss`` and ``test/accuracy``, computed once with the best weights."""
        self._evaluate("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimizer; a learning-rate schedule goes here, too."""
        return torch.optim.AdamW(self.parameters(), lr=self.lr)

    def _evaluate(self, split: str, batch: tuple[Tensor, Tensor]) -> None:
        x, y = batch
        scores = self(x)
        accuracy = (scores.argmax(1) == y).float().mean()
        # sync_dist: with several GPUs, the mean over all of them.
        self.log(f"{split}/loss", functional.cross_entropy(scores, y), sync_dist=True)
        self.log(f"{split}/accuracy", accuracy, sync_dist=True)
