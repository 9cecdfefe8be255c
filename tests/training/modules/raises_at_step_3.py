"""A module whose training fails after three optimizer steps, with a message of two lines."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.global_step == 3:
            raise RuntimeError("the magnets\n  quenched")
        return self.loss(batch)
