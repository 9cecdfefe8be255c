"""A module as people write them: names without a slash, in every hook, per step and per epoch."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("g_loss", loss)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("train_f1", self.current_epoch + 0.5)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def on_validation_epoch_end(self) -> None:
        self.log_dict({"val_acc": self.current_epoch + 1.0, "time": 3.0})

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict({"test_acc": 4.0, "test_loss": self.loss(batch)})
