"""Its run is resumed and evaluated from another folder."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    """Trains."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", self.loss(batch))
