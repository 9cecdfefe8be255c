"""A module that reduces its learning rate on a plateau, and stops early by Lightning's callback."""

from typing import Any

import pytorch_lightning as pl
import torch
from linear_net import LinearNet
from pytorch_lightning.callbacks import EarlyStopping


class Net(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss((torch.nn.functional.dropout(batch[0], 0.3), batch[1]))

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=2.0, momentum=0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val/loss"}}

    def configure_callbacks(self) -> list[pl.Callback]:
        return [EarlyStopping("val/loss", patience=3)]
