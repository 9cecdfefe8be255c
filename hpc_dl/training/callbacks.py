"""Callbacks that report on a training: journal rows with loss and speed, and progress output."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, RichProgressBar

from hpc_dl.data.ragged import Ragged
from hpc_dl.errors import defined_at, escape_control_characters
from hpc_dl.learning.metric_names import without_forks
from hpc_dl.learning.training_module import TrainingModule
from hpc_dl.training.stopping.divergence import gradient_norm, learning_rate

Inspect = Callable[[pl.Trainer, Mapping[str, float]], None]


class TrainingMetrics(Callback):
    """Write a row every ``log_every_n_steps`` optimizer steps.

    A row holds ``train/loss``, the mean since the previous row; ``train/gradient_norm``, over all
    parameters as the last step used them, after clipping; ``train/lr``; ``train/samples_per_s``.
    The loss is summed on the device and read back only when a row is written, so that no step waits
    for the device. With several ranks, loss and speed are those of all ranks together.
    """

    NAMES = ("train/loss", "train/gradient_norm", "train/lr", "train/samples_per_s")

    def __init__(
        self, inspect: Inspect = lambda trainer, row: None, say: Callable[[str], None] = lambda message: None
    ) -> None:
        """Start counting.

        Args:
            inspect: gets each row, to find out that the training has diverged.
            say: shows the user one line.
        """
        self._inspect = inspect
        self._say = say
        self._has_loss = False  # in any step of this attempt
        self._sum: torch.Tensor | None = None  # of each batch's loss times its samples
        self._weight = 0  # samples in that sum
        self._samples = 0  # since `_since`, when this attempt started or the last row was written
        self._since = 0.0
        self._logged_step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting."""
        self._logged_step = trainer.global_step
        self._reset()

    def loss_is_finite(self) -> bool:
        """Whether this rank's losses since the last row are finite; waits for the device."""
        return self._sum is None or bool(self._sum.isfinite())

    def rank_state(self) -> dict[str, Any]:
        """This rank's sums since the last row, for a checkpoint between two rows."""
        total = None if self._sum is None else self._sum.detach().cpu().clone()
        return {"sum": total, "weight": self._weight, "logged_step": self._logged_step}

    def load_rank_state(self, state: dict[str, Any]) -> None:
        """Continue with the sums that :meth:`rank_state` returned."""
        self._reset()
        self._sum, self._weight, self._logged_step = state["sum"], state["weight"], state["logged_step"]

    @staticmethod
    def share(states: list[dict[str, Any]], rank: int) -> dict[str, Any]:
        """Distribute the states of all ranks among another number of ranks.

        Rank 0 gets the sums of all, the others start from zero.
        """
        sums = [state["sum"] for state in states if state["sum"] is not None]
        if rank or not sums:
            return {"sum": None, "weight": 0, "logged_step": states[0]["logged_step"]}
        weight = sum(state["weight"] for state in states)
        return {"sum": torch.stack(sums).sum(), "weight": weight, "logged_step": states[0]["logged_step"]}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a batch, and write a row when one is due."""
        loss = loss_of(outputs)
        size = _batch_size(batch)
        if loss is not None:
            self._has_loss = True
            loss = loss.detach() if loss.requires_grad else loss
            if self._sum is None:
                # A sum needs more precision than the 8 bits of bfloat16.
                self._sum = torch.zeros_like(loss, dtype=torch.promote_types(loss.dtype, torch.float32))
            elif self._sum.device != loss.device:  # restored from a checkpoint
                self._sum = self._sum.to(loss.device)
            self._sum.add_(loss, alpha=size)
            self._weight += size
        self._samples += size
        due = trainer.global_step - self._logged_step >= trainer.log_every_n_steps  # type: ignore[attr-defined]
        if due or (trainer.is_last_batch and trainer.global_step > self._logged_step):
            self._write(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say that nothing is trained, where no step of the first epoch returned a loss."""
        if pl_module.automatic_optimization and not self._has_loss and trainer.global_step:
            self._has_loss = True
            where = defined_at(pl_module.training_step)
            self._say(f"{type(pl_module).__name__}.training_step returns no loss, which trains nothing{where}.")

    def _write(self, trainer: pl.Trainer) -> None:
        elapsed = time.perf_counter() - self._since
        row = {
            "epoch": float(trainer.current_epoch),
            "train/samples_per_s": self._samples * trainer.world_size / max(elapsed, 1e-9),
        }
        if self._sum is not None:
            total = torch.stack([self._sum, torch.full_like(self._sum, self._weight)])
            total = trainer.strategy.reduce(total, reduce_op="sum")
            # Lightning has divided the loss from training_step by accumulate_grad_batches.
            row["train/loss"] = float(total[0] / total[1] * trainer.accumulate_grad_batches)
            trainer.callback_metrics["train/loss"] = torch.tensor(row["train/loss"])
        if (norm := gradient_norm(trainer.lightning_module)) is not None:  # they remain until the next backward pass
            row["train/gradient_norm"] = norm
        if (rate := learning_rate(trainer)) is not None:
            row["train/lr"] = rate
        for logger in trainer.loggers:
            logger.log_metrics(row, step=trainer.global_step)
        self._inspect(trainer, row)
        self._logged_step = trainer.global_step
        self._reset()

    def _reset(self) -> None:
        self._sum = None
        self._weight = self._samples = 0
        self._since = time.perf_counter()


class PlainProgress(Callback):
    """Progress for a log file: a line after each epoch, and every half minute within one."""

    INTERVAL_S = 30.0

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._epoch_started = self._last_line = 0.0
        self._ended = ("", 0.0)  # the epoch that is still to be reported, and its seconds

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch before, and start the clock."""
        self._report(trainer)
        self._epoch_started = self._last_line = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report the progress within the epoch, if the last line is long ago."""
        if time.monotonic() - self._last_line > self.INTERVAL_S:
            self._last_line = time.monotonic()
            self._say(f"{_epoch(trainer)}  batch {batch_idx + 1}/{trainer.num_training_batches}{_metrics(trainer)}")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the time; the module's own hook, which comes next, may log metrics of the epoch."""
        self._ended = (f"{_epoch(trainer)}  step {trainer.global_step}", time.monotonic() - self._epoch_started)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the last epoch."""
        self._report(trainer)

    def _report(self, trainer: pl.Trainer) -> None:
        """Report the metrics of the epoch that has ended, with its validation."""
        (ended, seconds), self._ended = self._ended, ("", 0.0)
        if ended:
            self._say(f"{ended}{_metrics(trainer)}  {seconds:.1f} s")


class TerminalProgress(RichProgressBar):
    """Lightning's progress bar with our metrics, and with epochs counted from 1 as in the log."""

    INTERVAL_S = 0.1

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)
        self._last_s = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar at most ten times per second, since its metrics wait for the device."""
        now = time.monotonic()
        if now - self._last_s >= self.INTERVAL_S or trainer.is_last_batch:
            self._last_s = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The current losses, accuracies and R²; all metrics of a user's own module."""
        return _shown_metrics(trainer)

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer)


def loss_of(outputs: Any) -> torch.Tensor | None:
    """The loss in what a training step returns; ``None`` without one."""
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    return loss if isinstance(loss, torch.Tensor) else None


def _batch_size(batch: Any) -> int:
    """The number of samples, from the first tensor in the batch."""
    first = batch
    while isinstance(first, (tuple, list, dict)) and first:
        if isinstance(first, Ragged):
            return len(first.offsets) - 1
        first = next(iter(first.values())) if isinstance(first, dict) else first[0]
    return len(first) if isinstance(first, torch.Tensor) and first.ndim else 1


def _epoch(trainer: pl.Trainer) -> str:
    last = f"/{trainer.max_epochs}" if trainer.max_epochs and trainer.max_epochs > 0 else ""
    return f"epoch {trainer.current_epoch + 1}{last}"


def _metrics(trainer: pl.Trainer) -> str:
    return "".join(
        f"  {escape_control_characters(name)} {value:.4g}" for name, value in _shown_metrics(trainer).items()
    )


def _shown_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """The main metrics of a shipped architecture; all that a user's own module logs."""
    names = set(trainer.callback_metrics)
    if isinstance(trainer.lightning_module, TrainingModule):
        names = {name for name in names if name.endswith(("/loss", "/accuracy", "/r2"))}
    return {name: float(trainer.callback_metrics[name]) for name in sorted(without_forks(names))}
