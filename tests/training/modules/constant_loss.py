"""A module whose loss is a constant that needs all 8 bits of bfloat16's mantissa."""

from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch) * 0 + 1.0078125  # 1 and the last bit of bfloat16
