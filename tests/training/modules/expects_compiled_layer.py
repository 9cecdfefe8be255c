"""A module without ``forward``, which checks that its layer was compiled."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        assert type(self.layer.forward).__name__ == "_CompiledForward"
        loss = self.loss(batch)
        self.log("own/loss", loss)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))
