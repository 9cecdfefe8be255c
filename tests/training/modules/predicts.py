"""A module with a predict_step of its own, which can also return something else."""

import pytorch_lightning as pl
import torch
from torch.nn.functional import cross_entropy


class Net(pl.LightningModule):
    def __init__(self, data, returns="sums"):
        super().__init__()
        self.returns = returns
        self.layer = torch.nn.Linear(data.input_shape[0] * data.input_shape[1] * data.input_shape[2], data.num_outputs)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return cross_entropy(self.layer(x.flatten(1)), y)

    def predict_step(self, batch, batch_idx):
        (x,) = batch
        if self.returns == "sums":
            return torch.stack([x.flatten(1).sum(1), self.layer(x.flatten(1)).argmax(1)], 1)
        if self.returns == "nothing":
            return None
        raise ValueError("the magnets quenched")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
