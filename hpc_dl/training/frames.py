"""The callback of rank 0 that records frames of 2-D inputs, generators and language models."""

from __future__ import annotations

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.figures.frame_makers import Maker, frame_makers
from hpc_dl.figures.frames import Frames, read_frames, schedule, write_frames
from hpc_dl.figures.subject import Subject
from hpc_dl.figures.undisturbed import undisturbed
from hpc_dl.training.console import log_only


class FrameRecorder(Callback):
    """Write frames before the training and after some epochs.

    It computes in evaluation mode, without gradients, and draws from generators of its own; the
    training goes on as without it. An error ends the frames, not the training.
    """

    def __init__(self, subject: Subject, path: Path) -> None:
        self._subject = subject
        self._path = path
        self._recorded: list[tuple[Frames, Maker]] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Continue the frames of an earlier attempt, or begin with the untrained model."""
        self._is_due = schedule(trainer.max_epochs)
        try:
            with undisturbed(pl_module):
                found = frame_makers(self._subject)
        except Exception as error:
            log_only(f"No frames are recorded: {type(error).__name__}: {error}")
            return
        earlier = read_frames(self._path) if trainer.global_step else {}
        self._recorded = [
            (earlier.get(frames.kind, frames).until(trainer.current_epoch), make) for frames, make in found
        ]
        if not trainer.global_step:
            self._record(pl_module, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write a frame if one is due."""
        self._record(pl_module, trainer.current_epoch + 1)

    def _record(self, model: pl.LightningModule, epoch: int) -> None:
        if not self._recorded or not self._is_due(epoch) or epoch in self._recorded[0][0].epochs:
            return
        try:
            with undisturbed(model):
                self._recorded = [(frames.with_frame(epoch, make()), make) for frames, make in self._recorded]
            write_frames(self._path, [frames for frames, _ in self._recorded])
        except Exception as error:
            self._recorded = []
            log_only(f"No more frames are recorded: {type(error).__name__}: {error}")
