"""When to save and when to leave: checkpoints to go on from, the best weights, and the graceful
stop.

A checkpoint is Lightning's own (weights, optimizers, schedules, loss scaling, callbacks, counters)
and under the key ``hpc_dl`` all that Lightning leaves out: the position between two batches, and
every rank's random states and accumulators.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from hpc_dl.atomic_files import read_json
from hpc_dl.config.checkpoint import CheckpointConfig
from hpc_dl.errors import ConfigError, RunError
from hpc_dl.runs import checkpoints
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.callbacks import TrainingMetrics
from hpc_dl.training.compiling import match_layouts
from hpc_dl.training.lightning import rank_state
from hpc_dl.training.lightning.epoch_loop import EpochLoop, Position
from hpc_dl.training.stopping import rehearsal, signals
from hpc_dl.training.stopping.best_weights import BestWeights
from hpc_dl.training.stopping.early_stopping import Patience
from hpc_dl.training.stopping.rank_group import RankGroup
from hpc_dl.training.stopping.resume_point import KEY, Entry

FIRST_AUTO_S = 60.0
LARGEST_SHARE = 0.02
LEAD_MARGIN_S = 15.0

# What the ranks tell each other between two batches; the highest word counts.
_NOTHING, _SAVE, _LIMIT, _INTERRUPT, _TERM = range(5)
_WORDS: dict[signals.Cause, int] = {"limit": _LIMIT, "interrupt": _INTERRUPT, "term": _TERM}
_CAUSES: dict[int, signals.Cause] = {word: cause for cause, word in _WORDS.items()}


class Left(Exception):
    """The training was left between two batches, with a checkpoint; raised on all ranks at the same
    point.

    Attributes:
        cause: why, the most urgent word of all ranks.
        step: optimizer steps done.
    """

    def __init__(self, cause: signals.Cause, step: int) -> None:
        super().__init__(f"left at step {step}: {cause}")
        self.cause = cause
        self.step = step


class Checkpointing(Callback):
    """Saves, keeps the best, and leaves the training when it is asked to.

    Attributes:
        checkpoint_s: seconds that the slowest checkpoint took.
        boundary_s: the longest time between two points at which the training can be left.
    """

    def __init__(
        self,
        run: RunFolder,
        config: CheckpointConfig,
        *,
        facts: dict[str, Any],
        say: Callable[[str], None],
        patience: Patience | None = None,
        ends_at: float | None = None,
        before_save: Callable[[], None] = lambda: None,
        writing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Nothing is saved before the training begins.

        Args:
            run: the run.
            config: the ``checkpoint`` section.
            facts: plain values that go into each checkpoint, for the check whether a later attempt
                fits to it.
            say: tells the user one line.
            patience: ends the training when it no longer gets better; ``None`` for never.
            ends_at: when the job is ended at the latest (``time.time()``); ``None`` where nobody
                knows.
            before_save: puts on the disk what must not be older than the checkpoint: the journal.
            writing: surrounds the writing, for whoever watches the time.
        """
        self._run = run
        self._config = config
        self._facts = facts
        self._say = say
        self._patience = patience
        self._ends_at = ends_at
        self._before_save = before_save
        self._writing = writing
        self._group: RankGroup
        self._loop: EpochLoop
        self._best: BestWeights
        self._saved: tuple[int, Position] | None = None
        self._saved_step = 0
        self._saved_time = time.monotonic()
        self._before_validation: tuple[Position, dict[str, Any], dict[str, Any]] | None = None
        self._boundary_time: float | None = None
        self._hold_at: int | None = None
        self._asked_time: float | None = None
        self._cost_s = 0.0
        self._began = time.monotonic()
        self.checkpoint_s = 0.0
        self.boundary_s = 0.0

    def attach(self, trainer: pl.Trainer, group: RankGroup) -> None:
        """Give the Trainer a loop that can be left and entered between batches; to be called before
        ``fit``.
        """
        self._group = group
        self._best = BestWeights(self._config.direction, self._write, self._say, writes=group.rank == 0)
        self._loop = EpochLoop(trainer, lambda: self._at_boundary(trainer), lambda: self._note_state(trainer))

    def whole_best(self) -> Checkpoint:
        """The best weights so far, verified; to be called by all ranks.

        Raises:
            RunError: they are damaged or gone: another result must not take their place in silence.
        """
        assert self._best.step is not None, "each training that ended has kept some weights"
        best = checkpoints.at(self._run.checkpoints, "best", self._best.step)
        problem = checkpoints.problem_of(best) if self._group.rank == 0 else ""
        if problem := self._group.from_rank_0(problem):
            raise RunError.at(
                best.path,
                f"the best weights are damaged ({problem})",
                remedy="put the file back from a copy, or begin a new run",
            )
        return best

    @property
    def cost_share(self) -> float:
        """Share of the time so far that went into checkpoints."""
        return self._cost_s / max(time.monotonic() - self._began, 1e-9)

    @property
    def lead_s(self) -> float:
        """Seconds from a signal until this training has left, with margin; as far as was measured
        yet.
        """
        return LEAD_MARGIN_S + 2 * (self.boundary_s + self.checkpoint_s)

    def timings(self) -> dict[str, float]:
        """What was measured, in seconds; for the next submission.

        ``stop_s``, from a signal until now, is there when a signal came: in this attempt, or else
        in an earlier one.
        """
        if self._asked_time is None:
            stop_s = (read_json(self._run.timings) or {}).get("stop_s")
        else:
            stop_s = time.monotonic() - self._asked_time
        return {
            **({} if stop_s is None else {"stop_s": round(stop_s, 3)}),
            "boundary_s": round(self.boundary_s, 3),
            "checkpoint_s": round(self.checkpoint_s, 3),
            "checkpoint_share": round(self.cost_share, 5),
            "lead_s": round(self.lead_s, 3),
        }

    def skip_training(self, entry: Entry) -> None:
        """Be as after the training that the checkpoint of a finished training tells of."""
        self.load_state_dict(entry.callbacks[self.state_key])
        self._loop.stand_at_end(entry.progress)

    # Lightning's hooks

    def state_dict(self) -> dict[str, Any]:
        """What was the best, and for how long."""
        return self._best.state_dict() | {"patience": None if self._patience is None else self._patience.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on comparing with it."""
        self._best.load_state_dict(state_dict)
        if self._patience is not None and state_dict["patience"] is not None:
            self._patience.load_state_dict(state_dict["patience"])

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Take the position and the counters away from Lightning, and enter there by our own loop."""
        if trainer.state.fn != "fit":
            return
        progress = checkpoint.pop("loops")["fit_loop"]
        own = checkpoint[KEY]
        position = Position(**own["position"])
        self._saved_step = checkpoint["global_step"]
        self._saved = (self._saved_step, position)
        self._loop.enter_at(position, progress, lambda: self._restore(trainer, own))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count the time."""
        self._saved_time = self._began = time.monotonic()
        self._boundary_time = None
        self._hold_at = rehearsal.hold_at(self._run, trainer.global_step)

    def on_validation_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Leave in the middle of a validation when asked to."""
        word = self._word(trainer)
        if word < _LIMIT:
            return
        if self._before_validation is None:  # in the sanity check: nothing was done that could be lost
            raise Left(_CAUSES[word], trainer.global_step)
        if self._between_steps(trainer, self._before_validation[0]):
            self._leave(trainer, word, *self._before_validation)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the weights if they are the best so far; end the training if it does not get better
        any more.
        """
        if trainer.sanity_checking:
            return
        self._before_validation = None
        logged = trainer.callback_metrics.get(self._config.monitor)
        if logged is None:
            raise ConfigError.at(
                "checkpoint.monitor",
                f"was not logged by {type(pl_module).__name__} in its first validation",
                value=self._config.monitor,
                allowed=", ".join(sorted(trainer.callback_metrics)),
                remedy="name one of these, or log it with self.log in validation_step",
            )
        # One rank decides: a metric that was not reduced over the ranks may differ between them.
        value = float(self._group.from_rank_0(float(logged)))
        self._best.consider(trainer, value)
        if self._patience is not None:
            self._patience.consider(value)
            if self._patience.ran_out:
                trainer.should_stop = True
                what = f"{self._config.monitor} no longer gets better"
                self._say(f"Early stopping after step {trainer.global_step}: {what}, best at step {self._best.step}.")

    def on_test_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Leave in the middle of the test when asked to; the training is done and saved by now."""
        if (word := self._word(trainer)) >= _LIMIT:
            raise Left(_CAUSES[word], trainer.global_step)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the finished training: to test it, and to go on from when more epochs are wanted."""
        self._group.settle()
        if self._best.step is None:  # no validation split, or the training ended before the first validation
            self._best.keep(trainer, math.nan)
        batches = self._loop.batch_progress.current.completed
        # Lightning has counted the epoch as processed, even one that was ended by max_steps.
        epoch = trainer.current_epoch
        if batches >= trainer.num_training_batches:
            self._loop.reset()  # where another epoch would begin
            self._save(trainer, Position(epoch, 0), complete=True)
        else:
            self._save(trainer, Position(epoch - 1, batches), complete=True)

    # Between two batches

    def _at_boundary(self, trainer: pl.Trainer) -> None:
        """Called before each batch. Gradients that are still being gathered are in no checkpoint:
        not in between.
        """
        word = self._word(trainer)
        if word == _NOTHING and self._hold_at is None:
            return
        position = self._loop.position
        if not self._between_steps(trainer, position):
            return
        if self._hold_at is not None and trainer.global_step >= self._hold_at:
            self._hold_at = None
            rehearsal.hold(self._run, self._group, trainer.global_step, self._say)
            self._boundary_time = None  # it was no long step
            word = max(word, self._word(trainer))
        if word == _NOTHING:
            return
        if word == _SAVE:
            self._save(trainer, position)
        else:
            self._leave(trainer, word, position)

    def _between_steps(self, trainer: pl.Trainer, position: Position) -> bool:
        """Whether no gradients are being gathered; Lightning makes a step after the last batch of
        an epoch as well.
        """
        return position.batch % trainer.accumulate_grad_batches == 0 or position.batch >= trainer.num_training_batches

    def _note_state(self, trainer: pl.Trainer) -> None:
        """A validation that is broken off is done again, from its beginning: remember how it was."""
        self._before_validation = (self._loop.position, self._loop.progress(), self._own_state(trainer))

    def _word(self, trainer: pl.Trainer) -> int:
        """What all ranks agree to do now."""
        now = time.monotonic()
        if self._boundary_time is not None:
            self.boundary_s = max(self.boundary_s, now - self._boundary_time)
        self._boundary_time = now
        if self._ends_at is not None and time.time() >= self._ends_at - self.lead_s:
            signals.request("limit", "time limit")
        if (asked := signals.requested()) is not None:
            word, self._asked_time = _WORDS[asked.cause], asked.time
        else:
            word = _SAVE if self._group.rank == 0 and self._due(trainer, now) else _NOTHING
        return self._group.highest(word)

    def _due(self, trainer: pl.Trainer, now: float) -> bool:
        if (steps := self._config.every_steps) is not None:
            lag = self._group.size > 1  # the others hear of it one batch later
            due = trainer.global_step - self._saved_step >= steps - lag
        else:
            seconds = self._config.every_seconds or max(FIRST_AUTO_S, self.checkpoint_s / LARGEST_SHARE)
            due = now - self._saved_time >= seconds
        return due and trainer.training

    def _leave(
        self,
        trainer: pl.Trainer,
        word: int,
        position: Position,
        progress: dict[str, Any] | None = None,
        own: dict[str, Any] | None = None,
    ) -> None:
        # Nothing was done since this attempt began or since the last save: there is nothing to add
        # to it.
        if trainer.global_step > 0 and self._saved != (trainer.global_step, position):
            self._save(trainer, position, progress=progress, own=own, leaving=True)
        raise Left(_CAUSES[word], trainer.global_step)

    # Saving and restoring

    def _save(
        self,
        trainer: pl.Trainer,
        position: Position,
        *,
        progress: dict[str, Any] | None = None,
        own: dict[str, Any] | None = None,
        complete: bool = False,
        leaving: bool = False,
    ) -> None:
        """Save on all ranks at once.

        Raises:
            RunError: it could not be written, and the training is about to end; otherwise that is
                only told, and tried again.
        """
        step = trainer.global_step
        ranks = self._group.gather(self._own_state(trainer) if own is None else own)
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if progress is not None:
            checkpoint["loops"]["fit_loop"] = progress
        checkpoint[KEY] = {**self._facts, "position": vars(position), "complete": complete, "ranks": ranks}
        # Not before the best weights are there: after a checkpoint, nobody would write them again.
        problem = self._best.write_rest() or self._write("step", step, lambda file: torch.save(checkpoint, file))
        self._saved_time, self._saved_step = time.monotonic(), step  # one that failed is not tried again in each step
        if problem is None:
            self._saved = (step, position)
        elif leaving or complete:
            raise RunError.at(
                self._run.checkpoints,
                f"the checkpoint of step {step} could not be written: {problem.strerror or problem}",
                remedy="make room there, then go on from the one before with `hpc-dl resume`",
            ) from problem
        else:
            self._say(f"The checkpoint of step {step} could not be written ({problem}); training goes on.")

    def _write(self, kind: checkpoints.Kind, step: int, save: Callable[[BinaryIO], None]) -> OSError | None:
        """Rank 0 writes; what went wrong is known to all."""
        began = time.monotonic()
        problem: OSError | None = None
        with self._writing():
            if self._group.rank == 0:
                try:
                    self._before_save()
                    checkpoints.write(self._run.checkpoints, kind, step, save)
                    checkpoints.prune(self._run.checkpoints)
                except OSError as error:
                    problem = error
            problem = self._group.from_rank_0(problem)
        seconds = time.monotonic() - began
        self._cost_s += seconds
        self.checkpoint_s = max(self.checkpoint_s, seconds)
        return problem

    def _own_state(self, trainer: pl.Trainer) -> dict[str, Any]:
        """What this rank alone knows."""
        return {"state": rank_state.capture(trainer), "training_metrics": _training_metrics(trainer).rank_state()}

    def _restore(self, trainer: pl.Trainer, own: dict[str, Any]) -> None:
        """Put back what this rank alone knew; a rank that was not there before begins with random
        states of its own.
        """
        match_layouts(trainer.optimizers)
        ranks, metrics = own["ranks"], _training_metrics(trainer)
        if len(ranks) == self._group.size:
            mine = ranks[self._group.rank]
            metrics.load_rank_state(mine["training_metrics"])
            sentences = rank_state.restore(trainer, mine["state"])
        else:
            sentences = rank_state.restore(trainer, ranks[0]["state"])
            metrics.load_rank_state(TrainingMetrics.share([r["training_metrics"] for r in ranks], self._group.rank))
            rank_state.fresh_random(int(own["seed"]), self._group.rank, trainer.global_step)
        for sentence in sentences:
            self._say(sentence)


def _training_metrics(trainer: pl.Trainer) -> TrainingMetrics:
    return next(callback for callback in trainer.callbacks if isinstance(callback, TrainingMetrics))  # type: ignore[attr-defined]
