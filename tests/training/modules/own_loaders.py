"""A module with its own data, which the YAML does not name."""

import os
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info


class Numbers(Dataset[Any]):
    """Random vectors of three classes, with noise that is drawn anew for each sample."""

    def __init__(self, size: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.y = torch.arange(size) % 3
        self.x = torch.randn(size, 8, generator=generator) + self.y[:, None]

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index] + 0.01 * torch.randn(8) + 0.01 * np.random.rand(), "y": self.y[index]}


class Net(pl.LightningModule):
    """Batches are mappings."""

    def __init__(self, workers: int = 0) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 3)
        self.workers = workers

    def setup(self, stage: str) -> None:
        self.splits = {"train": Numbers(40, 0), "val": Numbers(12, 1)}

    def train_dataloader(self) -> Any:
        return DataLoader(self.splits["train"], batch_size=8, shuffle=True, num_workers=self.workers)

    def val_dataloader(self) -> Any:
        return [DataLoader(self.splits["val"], batch_size=size) for size in (4, 6)]

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.layer(batch["x"]), batch["y"])

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        loss = torch.nn.functional.cross_entropy(self.layer(batch["x"]), batch["y"])
        self.log("val_loss", loss, batch_size=len(batch["y"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.05)


class WithTest(Net):
    """Also has a test."""

    def test_dataloader(self) -> Any:
        return DataLoader(Numbers(12, 2), batch_size=4)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", (self.layer(batch["x"]).argmax(1) == batch["y"]).float().mean())


class WithTestStep(Net):
    """Has no batches for its test."""

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", 1.0)


class Empty(Net):
    """Has fewer samples than a batch."""

    def train_dataloader(self) -> Any:
        return DataLoader(Numbers(3, 0), batch_size=8, drop_last=True)


class Scans(Numbers):
    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index == 20:
            raise KeyError("scan_020")
        return super().__getitem__(index)


class FailsInWorker(Net):
    """Its data set fails in a process that loads batches."""

    def train_dataloader(self) -> Any:
        return DataLoader(Scans(40, 0), batch_size=8, num_workers=1)


class LostNumbers(Numbers):
    """Ends the process that loads its samples."""

    def __init__(self, size: int, by: int) -> None:
        super().__init__(size, 0)
        self.by = by

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if get_worker_info() is None:
            raise ValueError("not in a worker")
        if self.by:
            os.kill(os.getpid(), self.by)
        os._exit(3)


class LosesWorker(Net):
    """Its worker is killed by a signal, or ends itself if that is 0."""

    def __init__(self, by: int = 0) -> None:
        super().__init__()
        self.by = by

    def train_dataloader(self) -> Any:
        return DataLoader(LostNumbers(40, self.by), batch_size=8, num_workers=1)
