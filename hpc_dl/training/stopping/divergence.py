"""Divergence: a loss or weights that are no longer finite, and never become so again.

The losses are read when a row is logged, which waits for the device anyway, and the weights before
a checkpoint is written. No step waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping

import pytorch_lightning as pl
import torch

from hpc_dl.config.trainer import OnNan
from hpc_dl.learning.metric_names import words
from hpc_dl.training.stopping.rank_group import RankGroup

# With a smaller factor the scaler of 16-bit gradients skips every step: it started at 65536.
_SMALLEST_SCALE = 2.0**-20
_RUNNING = ("running_mean", "running_var")  # of batch normalization; other buffers may hold -inf on purpose


class TrainingDiverged(Exception):
    """The training has diverged; raised on all ranks at the same point.

    Attributes:
        step: optimizer steps done.
        reason: what was found, and when.
    """

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason


class Divergence:
    """Detects that a training has diverged, and ends it or reports it.

    Attributes:
        reason: what this rank has found; empty for nothing.
    """

    def __init__(self, on_nan: OnNan, say: Callable[[str], None]) -> None:
        """Start without a finding.

        Args:
            on_nan: whether a training that has diverged stops or continues.
            say: shows the user one line.
        """
        self._stops = on_nan == "stop"
        self._say = say
        self._scale = 0.0
        self._checks_weights = True
        self.reason = ""

    @property
    def must_stop(self) -> bool:
        """Whether this rank has found a reason to stop."""
        return self._stops and bool(self.reason)

    def start(self, trainer: pl.Trainer) -> None:
        """Remember what is not finite from the start, and the scale of 16-bit gradients."""
        self._checks_weights = weights_are_finite(trainer.lightning_module)
        self._skipped_steps(trainer)

    def inspect(self, trainer: pl.Trainer, row: Mapping[str, float]) -> None:
        """Look for a loss that is not finite in a row of training metrics."""
        if self._skipped_steps(trainer) or self.reason:
            return
        losses = {name: value for name, value in row.items() if {"loss", "losses"} & set(words(name))}
        for name, value in losses.items():
            if not math.isfinite(value):
                self._found(trainer, f"{name} is {value}", row)
                return
        if not math.isfinite(row.get("train/gradient_norm", 0.0)) and not self._weights_are_finite(trainer):
            self._found(trainer, "the weights are no longer finite", row)

    def may_save(self, trainer: pl.Trainer, group: RankGroup, loss_is_finite: bool = True) -> bool:
        """Whether the present weights may be saved; all ranks must call this at the same point.

        Raises:
            TrainingDiverged: on any rank the weights or the loss are no longer finite, and the
                training stops for this reason.
        """
        finite = self._weights_are_finite(trainer)
        if not loss_is_finite and not self.reason and not self._skipped_steps(trainer):
            self._found(trainer, "the loss is no longer finite", {})
        if not finite and not self.reason:
            self._found(trainer, "the weights are no longer finite", {})
        diverged = bool(group.highest_now(2 if self.must_stop else 0 if finite else 1))
        if diverged and self._stops:
            raise self.error(trainer)
        return not diverged

    def error(self, trainer: pl.Trainer) -> TrainingDiverged:
        """The exception that ends the training, with this rank's finding or another rank's."""
        return TrainingDiverged(trainer.global_step, self.reason or "another rank's loss is no longer finite")

    def _found(self, trainer: pl.Trainer, what: str, row: Mapping[str, float]) -> None:
        norm = row.get("train/gradient_norm")
        norm = gradient_norm(trainer.lightning_module) if norm is None else norm
        facts = [f"gradient norm {norm:.4g}"] if norm is not None else []
        if (rate := learning_rate(trainer)) is not None:
            facts.insert(0, f"learning rate {rate:.4g}")
        details = f" ({', '.join(facts)})" if facts else ""
        self.reason = f"{what} at step {trainer.global_step}{details}"
        if not self._stops:
            self._say(f"Diverged: {self.reason}. The training continues (trainer.on_nan: continue).")

    def _weights_are_finite(self, trainer: pl.Trainer) -> bool:
        return not self._checks_weights or weights_are_finite(trainer.lightning_module)

    def _skipped_steps(self, trainer: pl.Trainer) -> bool:
        """Whether the scaler of 16-bit gradients has skipped steps since the last call.

        It halves its scale when it skips a step with gradients that are too large.
        """
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is None:
            return False
        before, self._scale = self._scale, float(scaler.get_scale())
        return _SMALLEST_SCALE < self._scale < before


def weights_are_finite(module: torch.nn.Module) -> bool:
    """Whether all trained parameters and running statistics are finite; waits for the device."""
    finite = [tensor.detach().isfinite().all() for tensor in _trained(module)]
    by_device: dict[torch.device, list[torch.Tensor]] = {}
    for value in finite:
        by_device.setdefault(value.device, []).append(value)
    return all(bool(torch.stack(values).all()) for values in by_device.values())


def learning_rate(trainer: pl.Trainer) -> float | None:
    """The learning rate of the first optimizer; ``None`` without one, or where it has none."""
    groups = trainer.optimizers[0].param_groups if trainer.optimizers else []  # Lightning's mock has no groups
    rate = groups[0].get("lr") if groups else None
    return None if rate is None else float(rate)


def gradient_norm(module: torch.nn.Module) -> float | None:
    """The norm over all parameters of the gradients that the last step used; None without any."""
    gradients = [p.grad for p in module.parameters() if p.grad is not None]
    if not gradients:
        return None
    return float(torch.stack([gradient.detach().float().norm() for gradient in gradients]).norm())


def _trained(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    for parameter in module.parameters():
        if parameter.requires_grad and not torch.nn.parameter.is_lazy(parameter) and parameter.numel():
            yield parameter
    for name, buffer in module.named_buffers():
        if name.endswith(_RUNNING) and buffer.is_floating_point():
            yield buffer
