"""A module with every kind of state: three random generators, metrics, and means over the epoch."""

import random
from typing import Any

import numpy as np
import torch
import torchmetrics
from linear_net import LinearNet


class Net(LinearNet):
    def __init__(self, data: Any) -> None:
        super().__init__(data)
        options = {"task": "multiclass", "num_classes": data.num_outputs}
        self.accuracy = torchmetrics.Accuracy(**options)
        both = {"f": torchmetrics.F1Score(**options), "p": torchmetrics.Precision(**options)}
        self.collection = torchmetrics.MetricCollection(both, prefix="mine/")
        self.areas = torchmetrics.AUROC(**options)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x = batch[0] + torch.rand(1) + np.random.rand() + random.random()
        loss = self.loss((torch.nn.functional.dropout(x, 0.3), batch[1]))
        outputs = self.layer(x.flatten(1)).softmax(1)
        self.accuracy(outputs, batch[1])
        self.collection.update(outputs, batch[1])
        self.areas.update(outputs, batch[1])
        self.log("mine/accuracy", self.accuracy, on_step=True, on_epoch=True)
        self.log("mine/loss", loss, on_step=True, on_epoch=True)
        self.log("mine/worst", loss, on_step=False, on_epoch=True, reduce_fx="max")
        return loss

    def on_train_epoch_end(self) -> None:
        self.log_dict({**self.collection.compute(), "mine/area": self.areas.compute()})
        self.collection.reset()
        self.areas.reset()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test/loss", self.loss(batch))
