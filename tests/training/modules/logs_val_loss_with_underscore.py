"""A module that logs ``val_loss`` where ``val/loss`` is monitored."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))
