"""A user's module written for other loggers of Lightning, that starts a W&B run itself."""

import pathlib

import pytorch_lightning as pl
import torch


class Net(pl.LightningModule):
    """A linear layer."""

    def __init__(self, data) -> None:
        super().__init__()
        self.save_hyperparameters({"width": 3, "folder": pathlib.Path("x"), "activation": print})
        self.layer = torch.nn.Linear(64, data.num_outputs)

    def on_train_start(self):
        import wandb

        wandb.login()
        wandb.init(project="own", config={"own_setting": 3})

    def training_step(self, batch, batch_idx):
        loss = torch.nn.functional.cross_entropy(self.layer(batch[0].flatten(1)), batch[1])
        self.logger.experiment.add_scalar("by_tensorboard", loss, batch_idx)
        self.logger.log_metrics({"by_logger": loss.item(), "step": batch_idx})
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", float("nan"))

    def on_validation_epoch_end(self):
        import wandb

        self.logger.experiment.add_image("image", torch.zeros(3, 4, 4))
        self.logger.log_table("table", columns=["a"], data=[[1]])
        for step in (50, 60):
            wandb.log({"epoch": self.current_epoch, "nothing": None}, step=step)

    def on_train_end(self):
        import wandb

        wandb.finish()
        wandb.log({"after": 1})

    def configure_optimizers(self):
        return None


class Unknown(Net):
    """It calls what no run has."""

    def training_step(self, batch, batch_idx):
        self.logger.experiment.add_nothing("a", 1)
