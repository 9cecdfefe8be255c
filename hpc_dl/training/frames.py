"""The callback of rank 0 that records frames of 2-D inputs, generators and language models."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.figures.frame_makers import Maker, frame_maker
from hpc_dl.figures.frames import Frames, schedule
from hpc_dl.figures.subject import Subject
from hpc_dl.figures.undisturbed import undisturbed
from hpc_dl.training.console import log_only


class FrameRecorder(Callback):
    """Write a frame before the training and after some epochs.

    It computes in evaluation mode, without gradients, and draws from generators of its own; the
    training goes on as without it. An error ends the frames, not the training.
    """

    def __init__(self, subject: Subject, path: Path) -> None:
        self._subject = subject
        self._path = path
        self._frames: Frames | None = None
        self._make: Maker | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue the frames of an earlier attempt, or begin with the untrained model."""
        self._is_due = schedule(trainer.max_epochs)
        try:
            with undisturbed(pl_module):
                found = frame_maker(self._subject)
        except Exception as error:
            log_only(f"No frames are recorded: {type(error).__name__}: {error}")
            return
        if found is None:
            return
        self._frames, self._make = found
        earlier = Frames.read(self._path) if trainer.global_step else None
        if earlier is not None and earlier.kind == self._frames.kind:
            self._frames = earlier.until(trainer.current_epoch)
        if not trainer.global_step:
            self._record(pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a frame if one is due."""
        self._record(pl_module, trainer.current_epoch + 1)

    def _record(self, model: pl.LightningModule, epoch: int) -> None:
        if self._frames is None or self._make is None or not self._is_due(epoch) or epoch in self._frames.epochs:
            return
        try:
            with undisturbed(model):
                self._frames = self._frames.with_frame(epoch, self._make())
            self._frames.write(self._path)
        except Exception as error:
            self._make = None
            log_only(f"No more frames are recorded: {type(error).__name__}: {error}")
