"""The callback that saves checkpoints, keeps the best weights, and stops a training on request.

A training is saved and stopped between two batches only. What a checkpoint contains is described in
:mod:`hpc_dl.training.stopping.checkpoint_writer`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_timings
from hpc_dl.training.lightning.epoch_loop import EpochLoop, Position
from hpc_dl.training.lightning.logged_rows import LoggedRows
from hpc_dl.training.stopping import rehearsal, signals
from hpc_dl.training.stopping.checkpoint_interval import CheckpointInterval
from hpc_dl.training.stopping.checkpoint_writer import CheckpointWriter, epoch_random
from hpc_dl.training.stopping.divergence import Divergence
from hpc_dl.training.stopping.early_stopping import Patience
from hpc_dl.training.stopping.monitor import Monitor
from hpc_dl.training.stopping.rank_group import RankGroup
from hpc_dl.training.stopping.resume_point import KEY, ResumePoint

LEAD_MARGIN_S = 15.0
# Requests that the ranks exchange between two batches; the highest of all ranks counts.
_NOTHING, _SAVE, _DIVERGED, _LIMIT = range(4)
_STOPS: tuple[signals.Cause, ...] = ("limit", "interrupt", "term", "pruned", "wandb")  # numbers from _LIMIT on
_REQUESTS: dict[signals.Cause, int] = {cause: request for request, cause in enumerate(_STOPS, _LIMIT)}
_CAUSES: dict[int, signals.Cause] = {request: cause for cause, request in _REQUESTS.items()}


class Checkpointing(Callback):
    """Saves checkpoints, keeps the best weights, and stops the training on request.

    Attributes:
        boundary_s: longest time between two points at which the training can stop, in seconds.
    """

    def __init__(
        self,
        run: RunFolder,
        interval: CheckpointInterval,
        *,
        facts: dict[str, Any],
        say: Callable[[str], None],
        divergence: Divergence | None = None,
        patience: Patience | None = None,
        ends_at: float | None = None,
        before_save: Callable[[], None] = lambda: None,
        check_data: Callable[..., None] = lambda at_once=False: None,
        writing: Callable[[str, int], AbstractContextManager[Any]] = lambda kind, step: nullcontext(),
    ) -> None:
        """Store the options; :meth:`attach` must follow.

        Args:
            run: the run folder.
            interval: when a checkpoint is due; has the ``checkpoint`` section.
            facts: plain values for each checkpoint, by which a later attempt checks that it fits.
            say: shows the user one line.
            divergence: finds out that the training has diverged; ``None`` for one that stops it.
            patience: ends the training when it no longer improves; ``None`` for never.
            ends_at: when the job ends at the latest (``time.time()``); ``None`` if unknown.
            before_save: brings to disk what must not be older than the checkpoint: the journal.
            check_data: raises DataError if the data changed; ``at_once``: even if just checked.
            writing: a context for the time of a write, given the kind of file and the step.
        """
        self._run = run
        self._interval = interval
        self._say = say
        self._divergence = divergence or Divergence("stop", say)
        self._monitor = Monitor(interval.config, say, required=patience is not None)
        self._writer_options: dict[str, Any] = {
            "divergence": self._divergence, "facts": facts, "say": say,
            "before_save": before_save, "check_data": check_data, "writing": writing,
        }  # fmt: skip
        self._patience = patience
        self._check_data = check_data
        self._ends_at = ends_at
        self._group: RankGroup
        self._loop: EpochLoop
        self._writer: CheckpointWriter
        # Position, counters and state of this rank when the running validation started.
        self._before_validation: tuple[Position, dict[str, Any], dict[str, Any]] | None = None
        self._boundary_time: float | None = None
        self._hold_at: int | None = None
        self._request_time: float | None = None
        self._start_time = time.monotonic()
        self.boundary_s = 0.0

    def attach(self, trainer: pl.Trainer, group: RankGroup) -> None:
        """Give the Trainer, before ``fit``, a loop that can stop and start between batches."""
        self._group = group
        self._writer = CheckpointWriter(self._run, group, self._monitor.mode, **self._writer_options)
        LoggedRows(trainer, self._divergence.inspect)
        self._loop = EpochLoop(trainer, lambda: self._at_boundary(trainer), lambda: self._store_state(trainer))

    def find_best(self) -> Checkpoint:
        """Return the file of the best weights, verified; all ranks must call this.

        Raises:
            RunError: it is damaged or missing: other weights must not silently take its place.
        """
        return self._writer.find_best()

    @property
    def cost_share(self) -> float:
        """The share of the time so far that checkpoints took."""
        return self._writer.total_s / max(time.monotonic() - self._start_time, 1e-9)

    @property
    def lead_s(self) -> float:
        """Seconds from a signal to the end of this training, as measured so far, with a margin."""
        return LEAD_MARGIN_S + 2 * (self.boundary_s + self._writer.checkpoint_s)

    def timings(self) -> dict[str, float]:
        """The measured times in seconds; ``stop_s``, from a signal until now, where one came."""
        if self._request_time is None:
            stop_s = read_timings(self._run).get("stop_s")
        else:
            stop_s = time.monotonic() - self._request_time
        return {
            **({} if stop_s is None else {"stop_s": round(stop_s, 3)}),
            "boundary_s": round(self.boundary_s, 3),
            "checkpoint_s": round(self._writer.checkpoint_s, 3),
            "checkpoint_share": round(self.cost_share, 5),
            "lead_s": round(self.lead_s, 3),
        }

    def skip_training(self, point: ResumePoint) -> None:
        """Restore the state after a complete training, of which only the test remains."""
        self.load_state_dict(point.callbacks[self.state_key])
        self._loop.set_to_end(point.progress)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, the metric that was chosen, and the patience, for a checkpoint."""
        patience = None if self._patience is None else self._patience.state_dict()
        return self._writer.best.state_dict() | {"monitor": self._monitor.name, "patience": patience}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value and the patience from a checkpoint."""
        self._writer.best.load_state_dict(state_dict)
        if self._interval.config.monitor == "auto":
            self._monitor.set(state_dict.get("monitor"))
            self._writer.best.mode = self._monitor.mode
        if self._patience is not None and state_dict["patience"] is not None:
            self._patience.load_state_dict(state_dict["patience"])

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Resume with our own loop: hide the position and the counters from Lightning."""
        if trainer.state.fn != "fit":
            return
        progress = checkpoint.pop("loops")["fit_loop"]
        content = checkpoint[KEY]
        position = Position(**content["position"])
        self._writer.last_step = checkpoint["global_step"]
        self._writer.last = (self._writer.last_step, position)
        if len(content["ranks"]) == self._group.size:
            self._loop.epoch_random, self._loop.epoch_begun = epoch_random(content["ranks"][self._group.rank])
        self._loop.enter_at(position, progress, lambda: self._writer.restore(trainer, content))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start measuring the time."""
        self._divergence.start(trainer)
        self._writer.last_time = self._start_time = time.monotonic()
        self._boundary_time = None
        self._hold_at = rehearsal.hold_at(self._run, trainer.global_step)

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop in the middle of a validation when requested."""
        request = self._agreed_request(trainer)
        if request < _LIMIT:
            return
        if self._before_validation is None:  # in the sanity check, when there is nothing to save yet
            raise signals.TrainingStopped(_CAUSES[request], trainer.global_step)
        if self._between_steps(trainer, self._before_validation[0]):
            self._stop(trainer, request, *self._before_validation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far; apply early stopping."""
        if trainer.sanity_checking:
            return
        self._before_validation = None
        may_keep = self._divergence.may_save(trainer, self._group)
        # One rank decides: a metric that was not reduced over the ranks may differ between them.
        value = self._group.from_rank_0(self._monitor.value(trainer))
        if value is None:
            return
        self._writer.best.mode = self._monitor.mode
        if may_keep:
            self._writer.best.consider(trainer, self._monitor.name or "", value)
        if self._patience is not None:
            self._patience.consider(value, self._monitor.mode)
            if self._patience.ran_out:
                trainer.should_stop = True
                reason = f"{self._monitor.name} no longer improves, best at step {self._writer.best.step}"
                self._say(f"Early stopping after step {trainer.global_step}: {reason}.")

    def on_test_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Stop in the middle of the test when requested; the training is done and saved by now."""
        if (request := self._agreed_request(trainer)) >= _LIMIT:
            raise signals.TrainingStopped(_CAUSES[request], trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the complete training, to test it or to resume it with more epochs."""
        self._group.finish_exchange()
        if self._writer.best.step is None:  # no validation split, or no validation before the end
            self._divergence.may_save(trainer, self._group)
            self._writer.best.keep(trainer, math.nan)
        batches = self._loop.batch_progress.current.completed
        # Lightning has counted the epoch as processed, even one that was ended by max_steps.
        epoch = trainer.current_epoch
        if batches >= trainer.num_training_batches:
            self._loop.reset()  # where another epoch would start
            self._loop.epoch_random = None
            self._writer.save(trainer, Position(epoch, 0), complete=True)
        else:
            self._writer.save(trainer, Position(epoch - 1, batches), complete=True)

    def _at_boundary(self, trainer: pl.Trainer) -> None:
        """Save, stop or hold before a batch, if that is requested and possible here.

        Gradients that are being accumulated are in no checkpoint: nothing happens in between.
        """
        request = self._agreed_request(trainer)
        if request == _NOTHING and self._hold_at is None:
            return
        position = self._loop.position
        if not self._between_steps(trainer, position):
            return
        if self._hold_at is not None and trainer.global_step >= self._hold_at:
            self._hold_at = None
            rehearsal.hold(self._run, self._group, trainer.global_step, self._say)
            self._boundary_time = None  # the wait must not count as a long step
            request = max(request, self._agreed_request(trainer))
        if request == _SAVE:
            self._writer.save(trainer, position)
        elif request == _DIVERGED:
            raise self._divergence.error(trainer)
        elif request != _NOTHING:
            self._stop(trainer, request, position)

    def _between_steps(self, trainer: pl.Trainer, position: Position) -> bool:
        """Whether no gradients are being accumulated."""
        # Lightning does an optimizer step after the last batch of an epoch as well.
        return position.batch % trainer.accumulate_grad_batches == 0 or position.batch >= trainer.num_training_batches

    def _store_state(self, trainer: pl.Trainer) -> None:
        """Store the state before a validation; an interrupted one is repeated from its start."""
        self._before_validation = (self._loop.position, self._loop.progress(), self._writer.own_state(trainer))

    def _agreed_request(self, trainer: pl.Trainer) -> int:
        """Return what all ranks agree to do now."""
        self._check_data()
        now = time.monotonic()
        if self._boundary_time is not None:
            self.boundary_s = max(self.boundary_s, now - self._boundary_time)
        self._boundary_time = now
        if self._ends_at is not None and time.time() >= self._ends_at - self.lead_s:
            signals.request("limit", "time limit")
        if (stop_request := signals.requested()) is not None:
            request, self._request_time = _REQUESTS[stop_request.cause], stop_request.time
        elif self._divergence.must_stop:
            request = _DIVERGED
        else:
            request = _SAVE if self._group.rank == 0 and trainer.training and self._is_due(trainer, now) else _NOTHING
        return self._group.highest(request)

    def _is_due(self, trainer: pl.Trainer, now: float) -> bool:
        return self._interval.is_due(
            steps=trainer.global_step - self._writer.last_step,
            seconds=now - self._writer.last_time,
            checkpoint_s=self._writer.checkpoint_s,
            num_ranks=self._group.size,
        )

    def _stop(
        self,
        trainer: pl.Trainer,
        request: int,
        position: Position,
        progress: dict[str, Any] | None = None,
        own_state: dict[str, Any] | None = None,
    ) -> None:
        # Without a step since the start or since the last checkpoint there is nothing to save.
        if trainer.global_step > 0 and self._writer.last != (trainer.global_step, position):
            self._writer.save(trainer, position, progress=progress, own_state=own_state, stopping=True)
        raise signals.TrainingStopped(_CAUSES[request], trainer.global_step)
