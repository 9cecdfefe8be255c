"""A LightningModule that records its batches, a quiet Trainer, and transforms."""

import random
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor


class Recorder(pl.LightningModule):
    """A classifier that records the inputs and labels of its steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(16, 3)
        self.seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def _step(self, stage: str, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        self.seen.setdefault(f"{stage}{self.current_epoch}", []).append((x, y))
        return torch.nn.functional.cross_entropy(self.layer(x.flatten(1)), y)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        return self._step("train", batch)

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self._step("val", batch)

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self._step("test", batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)

    def inputs(self, key: str) -> list[bytes]:
        """The inputs of a stage and epoch, such as ``train0``."""
        return [sample.numpy().tobytes() for x, _ in self.seen[key] for sample in x]


def trainer(**arguments: Any) -> pl.Trainer:
    """A Trainer on one CPU that prints and writes nothing."""
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(**{"accelerator": "cpu", "devices": 1, "num_sanity_val_steps": 0} | quiet | arguments)


def unchanged(batch: Any) -> Any:
    """A transform that changes nothing."""
    return batch


def noisy(batch: tuple[Tensor, Tensor]) -> Any:
    """A transform that draws from the generators of torch, NumPy and Python."""
    x, y = batch
    return x.float() + torch.rand(x.shape) + np.random.rand() + random.random(), y
