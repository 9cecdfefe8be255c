"""Lightning's loop over the batches of an epoch, which can stop and start between any two batches.

Lightning (2.6) saves checkpoints in the middle of its hooks and infers from its counters where it
was. After the last batch of an epoch, with validation in mid-epoch, or with loader workers, it
resumes at the wrong place. Here a checkpoint is saved, and everything is restored, at one
well-defined point only: a batch and all that belongs to it (optimizer step, logging, validation) is
done, and the next one has not been requested. For Lightning a resumed training is an ordinary one
that starts in the middle.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.loops.fetchers import _DataFetcher
from pytorch_lightning.loops.fit_loop import _FitLoop
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from hpc_dl.compatibility.checks import missing_for_plain_step
from hpc_dl.data.own_loaders import OwnLoaders
from hpc_dl.training.console import say
from hpc_dl.training.lightning import ddp_warm_up, random_state
from hpc_dl.training.lightning.plain_copies import State

if TYPE_CHECKING:
    from hpc_dl.training.lightning.plain_step import PlainStep


@dataclass(frozen=True)
class Position:
    """A point between two batches.

    Attributes:
        epoch: index of the epoch, from 0.
        batch: number of batches of the epoch that are done, on each rank.
        validation_due: whether the validation after that batch is still to be done, or to be
            repeated.
    """

    epoch: int
    batch: int
    validation_due: bool = False


class EpochLoop(_TrainingEpochLoop):
    """Can stop before each batch and in each validation, and can start at a :class:`Position`."""

    def __init__(
        self, trainer: pl.Trainer, at_boundary: Callable[[], None], before_validation: Callable[[], None]
    ) -> None:
        """Replace the Trainer's own loop, before ``fit``.

        Args:
            trainer: the Trainer.
            at_boundary: called between two batches; may save, and may raise to stop the training.
            before_validation: called when a validation is due and nothing of it has started, not
                even its loader.
        """
        own = trainer.fit_loop.epoch_loop
        super().__init__(trainer, own.min_steps, own.max_steps)
        self._at_boundary = at_boundary
        self._before_validation = before_validation
        self._entry: tuple[Position, dict[str, Any], Callable[[], None]] | None = None
        self._validation_due = False
        self._plain_step: PlainStep | None = None
        self._can_step_plainly = True
        if missing := missing_for_plain_step():
            self._can_step_plainly = False
            if trainer.is_global_zero:
                say(missing)
        self._validates: bool | None = None  # in this epoch
        # The random states before an epoch's first batch, where the module has its own loaders.
        self.epoch_random: State | None = None
        self.epoch_begun = True  # whether the epoch in which a training resumes had begun
        trainer.fit_loop = _Epochs(trainer, self)
        trainer._signal_connector = _NoSignals(trainer)

    @property
    def own_loaders(self) -> bool:
        """Whether the batches come from the loaders of a user's module."""
        return isinstance(self.trainer.datamodule, OwnLoaders)  # type: ignore[attr-defined]

    @property
    def position(self) -> Position:
        """The present point of the training; only meaningful between two batches."""
        return Position(self.trainer.current_epoch, self.batch_progress.current.ready, self._validation_due)

    def progress(self) -> dict[str, Any]:
        """A copy of all of Lightning's counters."""
        return copy.deepcopy(self.trainer.fit_loop.state_dict())

    def enter_at(self, position: Position, progress: dict[str, Any], restore: Callable[[], None]) -> None:
        """Start at a position instead of at the first batch of the first epoch.

        Args:
            position: where the checkpoint was saved.
            progress: Lightning's counters at that position.
            restore: restores all else (random states, accumulators); called after everything that
                happens before the next batch, so that nothing changes what was restored.
        """
        self._entry = (position, progress, restore)
        epochs = self.trainer.fit_loop.epoch_progress
        done = dict.fromkeys(("ready", "started", "processed", "completed"), position.epoch)
        epochs.load_state_dict({"total": done, "current": done})
        self._load_counters(progress)  # the global step must be right from the start

    def set_to_end(self, progress: dict[str, Any]) -> None:
        """Set the counters to those after a complete training, of which only the test remains."""
        self.trainer.fit_loop.epoch_progress.load_state_dict(progress["epoch_progress"])
        self._load_counters(progress)

    @property
    def validation_due(self) -> bool:
        """Whether a validation is still to be done, now or where the training starts."""
        return self._validation_due or (self._entry is not None and self._entry[0].validation_due)

    @property
    def done(self) -> bool:
        """Whether the epoch is over."""
        return not self._validation_due and super().done

    def run(self, data_fetcher: _DataFetcher) -> None:
        """Run an epoch; what is the same in all of its steps is determined once."""
        self._validates = super()._should_check_val_epoch()
        self._plain_step = self._new_plain_step(data_fetcher)
        try:
            super().run(data_fetcher)
        finally:
            self._validates = self._plain_step = None

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Start an epoch, or enter it at the position of :meth:`enter_at`."""
        device = self.trainer.strategy.root_device
        if self._entry is not None and self.epoch_random is not None:
            random_state.restore(device, self.epoch_random)  # a user's loader draws its order when it starts
        self.epoch_random = random_state.capture(device) if self.own_loaders else None
        super().on_run_start(data_fetcher)
        begun = random_state.capture(device) if self.own_loaders and not self.epoch_begun else None
        self.epoch_begun = True
        if self._entry is None:
            return
        position, progress, restore = self._entry
        self._entry = None
        if ddp_warm_up.needed(self.trainer):
            ddp_warm_up.run(self.trainer, self.trainer.datamodule.first_training_batch())  # type: ignore[attr-defined]
        self._load_counters(progress)
        if self.own_loaders:
            for _ in range(position.batch):
                next(data_fetcher)
        else:  # our loader has started at the position
            data_fetcher.fetched = position.batch
            data_fetcher.done = data_fetcher.length is not None and position.batch >= data_fetcher.length
        self._validation_due = position.validation_due
        restore()
        if begun is not None:
            random_state.restore(device, begun)

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Train on one batch; on none where only the validation after the last one is still due."""
        self._at_boundary()
        if self._validation_due:
            self._validation_due = False
        elif self._plain_step is not None:
            self._plain_step(data_fetcher)
        else:
            super().advance(data_fetcher)

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate, where that is due."""
        if self._should_check_val_fx(data_fetcher):
            self._validation_due = True
            self._before_validation()
            self._validation_due = False
            super().on_advance_end(data_fetcher)
            return
        # As Lightning does without a validation, which would check once more whether one is due.
        self.update_lr_schedulers("step", update_plateau_schedulers=True)
        if not self._should_accumulate():
            self._batches_that_stepped += 1
        self._save_loggers_on_train_batch_end()

    def _should_check_val_epoch(self) -> bool:
        """Whether this epoch has a validation; Lightning determines that in each step."""
        return super()._should_check_val_epoch() if self._validates is None else self._validates

    def _broadcast_sigterm_tensor(self) -> None:
        """Do nothing: ``at_boundary`` agrees on stopping, without waiting for the device."""

    def _new_plain_step(self, data_fetcher: _DataFetcher) -> PlainStep | None:
        """Return the plain step for this epoch; ``None`` where Lightning's own is needed."""
        if not self._can_step_plainly:
            return None
        from hpc_dl.training.lightning import plain_step  # only here: it may fail where names are missing

        return plain_step.PlainStep(self) if plain_step.suffices(self.trainer, data_fetcher) else None

    def _load_counters(self, progress: dict[str, Any]) -> None:
        self.load_state_dict(progress, "epoch_loop.")
        # From these flags Lightning would infer what was interrupted.
        for loop in (self, self.val_loop, self.automatic_optimization, self.manual_optimization):
            loop._restarting = loop._loaded_from_state_dict = loop._resuming_from_checkpoint = False


class _Epochs(_FitLoop):
    """Lightning's loop over epochs, which does not end before a validation that is still due."""

    def __init__(self, trainer: pl.Trainer, epoch_loop: EpochLoop) -> None:
        super().__init__(trainer, trainer.fit_loop.min_epochs, trainer.fit_loop.max_epochs)
        self.epoch_loop: EpochLoop = epoch_loop

    @property
    def done(self) -> bool:
        """Whether the training is done."""
        return not self.epoch_loop.validation_due and super().done


class _NoSignals(_SignalConnector):
    """A replacement for Lightning's signal handlers, which may interrupt a step to save."""

    def register_signal_handlers(self) -> None:
        """Do nothing: see ``hpc_dl.training.stopping.signals``."""

    def teardown(self) -> None:
        """Do nothing: no handler was registered."""
