"""Modules whose loss or weights stop being finite after some steps."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    """The loss is NaN from the step ``at`` on, on the rank ``only_rank`` or on all."""

    def __init__(self, data: Any, at: int = 8, only_rank: int | None = None) -> None:
        super().__init__(data)
        self.at, self.only_rank = at, only_rank
        self.register_buffer("mask", torch.full((3,), -torch.inf))  # as in attention: not a sign of divergence

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        bad = self.global_step >= self.at and self.only_rank in (None, self.global_rank)
        return self.loss(batch) * (torch.nan if bad else 1.0)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


class Weights(Net):
    """A weight becomes infinite, which the loss does not show."""

    def __init__(self, data: Any) -> None:
        super().__init__(data, at=1000)
        self.unused = torch.nn.Parameter(torch.zeros(3))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.global_step == 8:
            self.unused.data[0] = torch.inf


class Manual(LinearNet):
    """Manual optimization; only its own metric shows it."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        loss = self.loss(batch)
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("d_loss", loss * (torch.inf if self.global_step >= 8 else 1.0))
