"""Modules of which only a Trainer can load the weights, or that save more than weights."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from linear_net import LinearNet


@dataclass
class Scanner:
    """An object of the user's own module."""

    name: str


class Tested(LinearNet):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return self.loss(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_weight", self.layer.weight.sum())


class LayersOfSetup(Tested):
    """Has no layer before ``setup``."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        del self.layer

    def setup(self, stage: str) -> None:
        if not hasattr(self, "layer"):
            self.layer = torch.nn.Linear(64, 3)


class LayersOfConfigureModel(Tested):
    """Has no layer before ``configure_model``."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.layer = None

    def configure_model(self) -> None:
        if self.layer is None:
            self.layer = torch.nn.Linear(64, 3)


class WithoutTeacher(Tested):
    """Leaves a part out of its checkpoints."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.strict_loading = False
        self.teacher = torch.nn.Linear(64, 3)

    def state_dict(self, *args: Any, **options: Any) -> Any:
        return {name: value for name, value in super().state_dict(*args, **options).items() if "teacher" not in name}


class SavesObjects(Tested):
    """Saves objects of its own, and arrays, and needs them."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.scanner: Any = None

    def on_save_checkpoint(self, checkpoint: Any) -> None:
        checkpoint["scanner"] = Scanner("7T")
        checkpoint["order"] = np.arange(3)

    def on_load_checkpoint(self, checkpoint: Any) -> None:
        self.scanner = checkpoint["scanner"]

    def on_test_end(self) -> None:
        assert self.scanner == Scanner("7T")


class FailsInItsTest(Tested):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_acc", 1 / 0)
