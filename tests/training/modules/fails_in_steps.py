"""Modules that fail on their first batch, each in another way; tests/training/test_trial.py."""

import ctypes
import os
import signal
import time
from typing import Any

import torch
from linear_net import LinearNet


class Good(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.logger.experiment.log({"own": 1.0})
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch))


class Training(Good):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch) + self.nett(batch[0])


class Validation(Good):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        _inputs, _targets, _weights = batch


class Test(Good):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", 1 / 0)


class Plateau(Good):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_los"}}


class Exits(Good):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        raise SystemExit("no reason")


class Killed(Good):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)


class Sleeps(Good):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        time.sleep(100)
        return self.loss(batch)


class Large(Good):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.large = [torch.ones(8 << 20, dtype=torch.uint8) for _ in range(16)]
        time.sleep(100)
        return self.loss(batch)


class Crashes(Good):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        ctypes.string_at(0)
        return self.loss(batch)


class ReturnsText(Good):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return "loss"


class NoLoss(Good):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.loss(batch)


class NanInValidation(Good):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.loss(batch) * torch.nan)
        self.log("val_perplexity", torch.inf)
