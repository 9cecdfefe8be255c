"""A user's module that logs with Lightning, with wandb, and through its logger."""

import numpy as np
import pytorch_lightning as pl
import torch
import wandb


class Net(pl.LightningModule):
    """A linear layer."""

    def __init__(self, data) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(64, data.num_outputs)

    def _loss(self, batch):
        return torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])

    def training_step(self, batch, batch_idx):
        loss = self._loss(batch)
        self.log("my_loss", loss)
        wandb.log({"by_wandb": loss})
        self.logger.experiment.log({"by_logger": loss.item()}, step=self.global_step)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self._loss(batch))

    def on_validation_epoch_end(self):
        image = wandb.Image(np.zeros((4, 4, 3), dtype=np.uint8))
        wandb.log({"image": image, "weights": wandb.Histogram(np.arange(4.0)), "note": "fine"})
        wandb.run.summary["epochs_seen"] = self.current_epoch + 1
        wandb.config.update({"own_setting": 3}, allow_val_change=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
