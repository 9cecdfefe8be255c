"""A user's own module for the tests, which can fail, hang or be slow, also on one rank only."""

import math
import os
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy

VERSION = "as submitted"


class Own(pl.LightningModule):
    def __init__(self, data, fail_on_rank=None, hang_on_rank=None, slow_until=None, crash=False):
        super().__init__()
        self.slow_until, self.crash = slow_until, crash
        self.fail_on_rank, self.hang_on_rank = fail_on_rank, hang_on_rank
        self.layer = torch.nn.Linear(math.prod(data.input_shape), data.num_outputs)

    def training_step(self, batch, batch_idx):
        if batch_idx == 0:
            print(f"{VERSION}: rank {self.global_rank} starts", flush=True)
        if self.crash:
            os.abort()
        waits = self.slow_until and not Path(self.slow_until).exists()
        if self.global_rank == self.fail_on_rank and not waits:
            raise RuntimeError("deliberate")
        if self.global_rank == self.hang_on_rank:
            print("hangs", flush=True)
            time.sleep(600)
        if waits:
            time.sleep(0.2)
        x, y = batch
        return cross_entropy(self.layer(x.flatten(1)), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val/loss", cross_entropy(self.layer(x.flatten(1)), y), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
