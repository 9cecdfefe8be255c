"""A module that starts W&B itself, as scripts do."""

from typing import Any

import torch
import wandb
from linear_net import LinearNet


class Net(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.run = wandb.init(project="own", config={"layers": 1})
        wandb.watch(self)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.run.log({"by_run": float(loss)})
        wandb.log({"by_wandb": float(loss)})
        return loss

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))
        self.logger.experiment.log({"by_test": 1.0})
