"""Modules that note all that Lightning knows, in each hook of the module and of a callback."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from linear_net import LinearNet

SKIPPED_BATCH = 13
HOOKS = (
    "on_train_batch_start",
    "on_train_batch_end",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_validation_start",
    "on_train_epoch_end",
)


class Net(LinearNet):
    """Returns its loss as a tensor."""

    skips_a_batch = False

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        first, last = torch.nn.Linear(64, 8), torch.nn.Linear(8, data.num_outputs)
        self.layer = torch.nn.Sequential(first, torch.nn.Dropout(0.3), last)
        self.notes: list[str] = []
        self.used_plain_step: set[bool] = set()

    def note(self, owner: str, hook: str, arguments: Any) -> None:
        loop = self.trainer.fit_loop.epoch_loop
        if hook == "training_step":
            self.used_plain_step.add(loop._plain_step is not None)
        values = [
            str(value.detach() if torch.is_tensor(value) else value)
            for value in arguments
            if torch.is_tensor(value) or isinstance(value, (int, dict))
        ]
        gradients = [None if p.grad is None else p.grad.sum().item() for p in self.parameters()]
        weights = [p.sum().item() for p in self.parameters()]
        trainer = self.trainer
        state = (self._current_fx_name, trainer.global_step, gradients, weights, loop.state_dict())
        self.notes.append(str((owner, hook, values, *state, trainer.is_last_batch)))

    def output(self, loss: torch.Tensor, batch_idx: int) -> Any:
        """What ``training_step`` returns."""
        return loss

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.note("module", "training_step", [batch_idx, batch[0].sum()])
        loss = self.loss(batch)
        self.log("mine/loss", loss, on_step=True, on_epoch=True)
        return self.output(loss, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val/loss", self.loss(batch))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.05)
        each_step = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.99)
        each_epoch = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, factor=0.9)
        return [optimizer], [
            {"scheduler": each_step, "interval": "step", "frequency": 2},
            each_epoch,
            {"scheduler": plateau, "interval": "step", "monitor": "mine/loss_step", "strict": False},
        ]

    def configure_callbacks(self) -> list[pl.Callback]:
        return [Notes()]

    def on_train_end(self) -> None:
        with open(f"{self.trainer.default_root_dir}/notes-{self.global_rank}", "w") as file:
            file.write("\n".join([str(self.used_plain_step), *self.notes]))


class ReturnsDict(Net):
    def output(self, loss: torch.Tensor, batch_idx: int) -> Any:
        return {"loss": loss, "more": loss.detach() * 2}


class ReturnsNoneSometimes(Net):
    def output(self, loss: torch.Tensor, batch_idx: int) -> Any:
        return None if batch_idx % 7 == 3 else loss


class EndsTheEpoch(Net):
    skips_a_batch = True


class Notes(pl.Callback):
    """Notes the same as the module."""


def noting_hook(name: str, owner: str) -> Callable[..., int | None]:
    def hook(self: Any, *arguments: Any) -> int | None:
        module = self if owner == "module" else arguments[1]
        module.note(owner, name, arguments)
        if name == "on_train_batch_end":
            module.log(f"{owner}/end", float(arguments[-1]))
        ends_epoch = owner == "module" and name == "on_train_batch_start" and module.skips_a_batch
        return -1 if ends_epoch and arguments[-1] == SKIPPED_BATCH else None

    return hook


for _name in HOOKS:
    setattr(Net, _name, noting_hook(_name, "module"))
    setattr(Notes, _name, noting_hook(_name, "callback"))
