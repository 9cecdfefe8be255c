"""A LightningDataModule, and a LightningModule that knows nothing of it."""

from typing import Any

import pytorch_lightning as pl
import torch
from own_loaders import Numbers
from torch.utils.data import DataLoader, random_split


class Data(pl.LightningDataModule):
    """Splits its samples in ``setup``, only for what is about to be done."""

    def __init__(self, size: int = 40, noise: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["noise"])
        self.noise = noise
        self.prepared = False

    def prepare_data(self) -> None:
        self.prepared = True

    def setup(self, stage: str) -> None:
        assert self.prepared
        if stage == "fit":
            generator = torch.Generator().manual_seed(0)
            parts = random_split(Numbers(self.hparams.size + 12, 0), [self.hparams.size, 12], generator)
            self.train_split, self.val_split = parts
        if stage == "test":
            self.test_split = Numbers(12, 2)

    def train_dataloader(self) -> Any:
        return DataLoader(self.train_split, batch_size=8, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val_split, batch_size=6)

    def test_dataloader(self) -> Any:
        return DataLoader(self.test_split, batch_size=4)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch if self.noise is None else batch | {"x": self.noise(batch["x"])}

    def state_dict(self) -> dict[str, Any]:
        return {"prepared": self.prepared}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        assert state_dict == {"prepared": True}


class OnlyTests(pl.LightningDataModule):
    """Has nothing to train on."""

    def test_dataloader(self) -> Any:
        return DataLoader(Numbers(12, 2), batch_size=4)


class Net(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 3)

    def loss(self, batch: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(batch["x"]), batch["y"])

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)
