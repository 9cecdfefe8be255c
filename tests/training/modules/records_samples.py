"""A module that records which samples were in each batch."""

import json
from pathlib import Path
from typing import Any

import torch
from linear_net import LinearNet


class Net(LinearNet):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        sums = [round(float(x), 3) for x in (batch[0].double().flatten(1) ** 2).sum(1)]
        with (Path(self.trainer.default_root_dir) / f"samples-{self.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps([self.current_epoch, batch_idx, sums]) + "\n")

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch), sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)
