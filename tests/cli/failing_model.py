"""A LightningModule whose training fails, for test_train.py."""

import pytorch_lightning as pl
import torch


class FailingModel(pl.LightningModule):
    """Prints a line in its first training step, then raises."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: object, batch_idx: int) -> None:
        print("to stdout")
        raise ValueError("no luck")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1)
