"""A user's module that logs through its logger, and imports wandb nowhere."""

import numpy as np
import pytorch_lightning as pl
import torch


class Net(pl.LightningModule):
    """A linear layer."""

    def __init__(self, data) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, data.num_outputs)

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])
        self.logger.experiment.log({"by_logger": loss, "note": "fine", "weights": np.arange(4.0)})
        self.logger.experiment.summary["best"] = 1
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class ImportsLate(Net):
    """Imports wandb where it logs."""

    def training_step(self, batch, batch_idx):
        import wandb

        loss = super().training_step(batch, batch_idx)
        wandb.log({"by_wandb": loss, "image": wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))})
        return loss


class UsesMLflow(Net):
    """Expects the experiment of another logger."""

    def training_step(self, batch, batch_idx):
        self.logger.experiment.set_tag("a", "b")
