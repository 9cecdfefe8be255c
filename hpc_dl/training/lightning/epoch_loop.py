"""Lightning's loop over the batches of an epoch, which can be left between any two batches and
entered there again.

Lightning (2.6) saves checkpoints in the middle of its hooks and infers from its counters where it
was: after the last batch of an epoch, with validation in mid-epoch, or with loader workers, it goes
on from the wrong place. Here a checkpoint is taken, and everything is put back, at one well-defined
point only: a batch and all that belongs to it (optimizer step, logging, validation) is done, and
the next one has not been asked for. For Lightning a resumed training is an ordinary one that begins
in the middle.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from hpc_dl.training.lightning import ddp_warm_up
from hpc_dl.training.lightning.plain_step import PlainStep, suffices


@dataclass(frozen=True)
class Position:
    """A point between two batches.

    Attributes:
        epoch: index of the epoch, from 0.
        batch: batches of the epoch that are done, on each rank.
        validation_due: the validation after that batch has not been done, or was broken off.
    """

    epoch: int
    batch: int
    validation_due: bool = False


class EpochLoop(_TrainingEpochLoop):
    """Can be left before each batch and in each validation, and can begin at a :class:`Position`."""

    def __init__(
        self, trainer: pl.Trainer, at_boundary: Callable[[], None], before_validation: Callable[[], None]
    ) -> None:
        """Take the place of the Trainer's own loop, before ``fit``.

        Args:
            trainer: the Trainer.
            at_boundary: called between two batches; may save, and may raise to leave the training.
            before_validation: called when a validation is due and nothing of it has begun, not even
                its loader.
        """
        own = trainer.fit_loop.epoch_loop
        super().__init__(trainer, own.min_steps, own.max_steps)
        self._at_boundary = at_boundary
        self._before_validation = before_validation
        self._entry: tuple[Position, dict[str, Any], Callable[[], None]] | None = None
        self._validation_due = False
        self._plain_step: PlainStep | None = None
        self._validates: bool | None = None
        trainer.fit_loop = _Epochs(trainer, self)
        trainer._signal_connector = _NoSignals(trainer)

    @property
    def position(self) -> Position:
        """Where the training is; only meaningful between two batches."""
        return Position(self.trainer.current_epoch, self.batch_progress.current.ready, self._validation_due)

    def progress(self) -> dict[str, Any]:
        """A copy of all of Lightning's counters."""
        return copy.deepcopy(self.trainer.fit_loop.state_dict())

    def enter_at(self, position: Position, progress: dict[str, Any], restore: Callable[[], None]) -> None:
        """Begin there instead of at the first batch of the first epoch.

        Args:
            position: where the checkpoint was taken.
            progress: Lightning's counters of that moment.
            restore: puts back all else (random states, accumulators); called when everything that
                comes before the next batch is over, so that nothing of it changes what was put
                back.
        """
        self._entry = (position, progress, restore)
        epochs = self.trainer.fit_loop.epoch_progress
        done = dict.fromkeys(("ready", "started", "processed", "completed"), position.epoch)
        epochs.load_state_dict({"total": done, "current": done})
        self._count(progress)  # the global step must be right from the beginning

    def stand_at_end(self, progress: dict[str, Any]) -> None:
        """Count as after a training that is over, where only its test is left to do."""
        self.trainer.fit_loop.epoch_progress.load_state_dict(progress["epoch_progress"])
        self._count(progress)

    @property
    def validation_due(self) -> bool:
        """Whether a validation is still to be done, now or where the training is entered."""
        return self._validation_due or (self._entry is not None and self._entry[0].validation_due)

    @property
    def done(self) -> bool:
        """Whether the epoch is over."""
        return not self._validation_due and super().done

    def run(self, data_fetcher: _DataFetcher) -> None:
        """An epoch; what is the same in all of its steps is found out once."""
        self._validates = super()._should_check_val_epoch()
        self._plain_step = PlainStep(self) if suffices(self.trainer, data_fetcher) else None
        try:
            super().run(data_fetcher)
        finally:
            self._validates = self._plain_step = None

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Begin an epoch, or enter it where it was left."""
        super().on_run_start(data_fetcher)
        if self._entry is None:
            return
        position, progress, restore = self._entry
        self._entry = None
        if ddp_warm_up.needed(self.trainer):
            ddp_warm_up.run(self.trainer, self.trainer.datamodule.example_batch())  # type: ignore[attr-defined]
        self._count(progress)
        data_fetcher.fetched = position.batch
        data_fetcher.done = data_fetcher.length is not None and position.batch >= data_fetcher.length
        self._validation_due = position.validation_due
        restore()

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """One batch; nothing, where only the validation after the last one is left to do."""
        self._at_boundary()
        if self._validation_due:
            self._validation_due = False
        elif self._plain_step is not None:
            self._plain_step(data_fetcher)
        else:
            super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """The validation, where one is due."""
        if self._should_check_val_fx(data_fetcher):
            self._validation_due = True
            self._before_validation()
            self._validation_due = False
            super().on_advance_end(data_fetcher)
            return
        # The same without a validation; Lightning would ask for it once more.
        self.update_lr_schedulers("step", update_plateau_schedulers=True)
        if not self._should_accumulate():
            self._batches_that_stepped += 1
        self._save_loggers_on_train_batch_end()

    def _should_check_val_epoch(self) -> bool:
        """Lightning asks in each step for what is the same in the whole epoch."""
        return super()._should_check_val_epoch() if self._validates is None else self._validates

    def _broadcast_sigterm_tensor(self) -> None:
        """Nothing: the ranks agree on stopping in ``at_boundary``, without a wait for the device in
        each step.
        """

    def _count(self, progress: dict[str, Any]) -> None:
        self.load_state_dict(progress, "epoch_loop.")
        # Lightning would infer from these what it believes was interrupted.
        for loop in (self, self.val_loop, self.automatic_optimization, self.manual_optimization):
            loop._restarting = loop._loaded_from_state_dict = loop._resuming_from_checkpoint = False


class _Epochs(_FitLoop):
    """Lightning's, except that a validation that is due belongs to the training, even after its
    last step.
    """

    def __init__(self, trainer: pl.Trainer, epoch_loop: EpochLoop) -> None:
        super().__init__(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
        self.epoch_loop: EpochLoop = epoch_loop

    @property
    def done(self) -> bool:
        """Whether the training is over."""
        return not self.epoch_loop.validation_due and super().done


class _NoSignals(_SignalConnector):
    """Lightning's handlers talk to other ranks, and save, in the middle of whatever is going on:
    left out.
    """

    def register_signal_handlers(self) -> None:
        """Nothing: see ``hpc_dl.training.stopping.signals``."""

    def teardown(self) -> None:
        """Nothing was registered."""
