"""A module with manual optimization of two networks by two optimizers."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.automatic_optimization = False
        self.other = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 3))

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        one, two = self.optimizers()
        loss = self.loss(batch)
        one.zero_grad()
        self.manual_backward(loss)
        one.step()
        if batch_idx % 2:
            two.zero_grad()
            other = torch.nn.functional.cross_entropy(self.other(batch[0].flatten(1)), batch[1])
            self.manual_backward(other)
            two.step()
            self.log("mine/other", other, on_step=False, on_epoch=True)
        self.lr_schedulers().step()
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        one = torch.optim.Adam(self.layer.parameters(), lr=0.01)
        two = torch.optim.SGD(self.other.parameters(), lr=0.1, momentum=0.9)
        return [one, two], [torch.optim.lr_scheduler.ExponentialLR(one, 0.99)]
