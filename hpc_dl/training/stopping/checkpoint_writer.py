"""Checkpoints to resume from: what they contain, how they are written, and how they are restored.

A checkpoint is Lightning's own (weights, optimizers, schedules, loss scaling, callbacks, counters)
and, under the key ``hpc_dl``, all that Lightning omits: the position between two batches, and
every rank's random states and accumulators.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, BinaryIO, Literal

import pytorch_lightning as pl
import torch

from hpc_dl.errors import DataError, RunError
from hpc_dl.runs import checkpoints
from hpc_dl.runs.checkpoints import Checkpoint
from hpc_dl.runs.folder import RunFolder
from hpc_dl.training.callbacks import TrainingMetrics
from hpc_dl.training.compiling import match_layouts
from hpc_dl.training.lightning import random_state, rank_state
from hpc_dl.training.lightning.epoch_loop import EpochLoop, Position
from hpc_dl.training.lightning.plain_copies import State
from hpc_dl.training.stopping.best_weights import BestWeights
from hpc_dl.training.stopping.divergence import Divergence
from hpc_dl.training.stopping.rank_group import RankGroup
from hpc_dl.training.stopping.resume_point import KEY


class CheckpointWriter:
    """Writes checkpoints on rank 0 with the state of all ranks, and restores that state.

    Attributes:
        best: the best weights so far.
        last: optimizer steps and position of the newest checkpoint that can be resumed from.
        last_step: optimizer steps at the last attempt to write one.
        last_time: ``time.monotonic()`` at that moment.
        checkpoint_s: seconds that the slowest write took.
        total_s: seconds that all writes took.
    """

    def __init__(
        self,
        run: RunFolder,
        group: RankGroup,
        mode: Literal["min", "max"],
        *,
        divergence: Divergence,
        facts: dict[str, Any],
        say: Callable[[str], None],
        before_save: Callable[[], None],
        check_data: Callable[..., None],
        writing: Callable[[str, int], AbstractContextManager[Any]],
    ) -> None:
        """Write nothing yet.

        Args:
            run: the run folder.
            group: the ranks.
            mode: whether small or large values of the monitored metric are better.
            divergence: decides whether the present weights may be saved.
            facts: plain values for each checkpoint, by which a later attempt checks that it fits.
            say: shows the user one line.
            before_save: brings to disk what must not be older than the checkpoint: the journal.
            check_data: raises DataError if the data changed since the training started.
            writing: a context for the time of a write, given the kind of file and the step.
        """
        self._run = run
        self._group = group
        self._divergence = divergence
        self._facts = facts
        self._say = say
        self._before_save = before_save
        self._check_data = check_data
        self._writing = writing
        self.best = BestWeights(mode, self.write, say, writes=group.rank == 0)
        self.last: tuple[int, Position] | None = None
        self.last_step = 0
        self.last_time = time.monotonic()
        self.checkpoint_s = 0.0
        self.total_s = 0.0

    def save(
        self,
        trainer: pl.Trainer,
        position: Position,
        *,
        progress: dict[str, Any] | None = None,
        own_state: dict[str, Any] | None = None,
        complete: bool = False,
        stopping: bool = False,
    ) -> None:
        """Save a checkpoint; all ranks must call this at the same point.

        Args:
            trainer: the Trainer.
            position: the point between two batches.
            progress: Lightning's counters at that point, if that is not now.
            own_state: :meth:`own_state` at that point, if that is not now.
            complete: whether the training is done.
            stopping: whether the training is about to stop.

        Raises:
            RunError: the checkpoint could not be written, and the training is about to end.
                Otherwise that is only announced, and retried later.
            TrainingDiverged: the weights or the loss are no longer finite.
        """
        step = trainer.global_step
        finite = _training_metrics(trainer).loss_is_finite()
        if not self._divergence.may_save(trainer, self._group, finite) and not (complete and self.last is None):
            self.last_time, self.last_step = time.monotonic(), step
            return
        ranks = self._group.gather(self.own_state(trainer) if own_state is None else own_state)
        checkpoint = trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        if progress is not None:
            checkpoint["loops"]["fit_loop"] = progress
        checkpoint[KEY] = {**self._facts, "position": vars(position), "complete": complete, "ranks": ranks}
        # The best weights must be on disk first: after a newer checkpoint no attempt would write
        # them again.
        problem = self.best.write_pending() or self.write("step", step, lambda file: torch.save(checkpoint, file))
        self.last_time, self.last_step = time.monotonic(), step  # a failed one is not retried in each step
        if problem is None:
            self.last = (step, position)
        elif stopping or complete:
            is_full = problem.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            remedy = "free disk space there" if is_full else "make the folder writable"
            raise RunError.at(
                self._run.checkpoints,
                f"the checkpoint of step {step} could not be written: {problem.strerror or problem}",
                remedy=f"{remedy}, then continue from the previous checkpoint with `hpc-dl resume`",
            ) from problem
        else:
            self._say(f"The checkpoint of step {step} could not be written ({problem}); training continues.")

    def write(self, kind: checkpoints.Kind, step: int, save: Callable[[BinaryIO], None]) -> OSError | None:
        """Write a file on rank 0; return the error, if any, on all ranks.

        Raises:
            DataError: the data changed: what was learned from them must not be kept.
        """
        self._refuse_changed_data()
        start = time.monotonic()
        problem: OSError | None = None
        with self._writing(kind, step):
            if self._group.rank == 0:
                try:
                    self._before_save()
                    checkpoints.write(self._run.checkpoints, kind, step, save)
                    checkpoints.prune(self._run.checkpoints)
                except OSError as error:
                    problem = error
            problem = self._group.from_rank_0(problem)
        seconds = time.monotonic() - start
        self.total_s += seconds
        self.checkpoint_s = max(self.checkpoint_s, seconds)
        return problem

    def _refuse_changed_data(self) -> None:
        """Check the data on all ranks; each node may see another state of a shared file."""
        error: DataError | None = None
        try:
            self._check_data(at_once=True)
        except DataError as caught:
            error = caught
        if self._group.highest_now(int(error is not None)):
            raise error or DataError.at("the data", "changed while another rank was reading them")

    def own_state(self, trainer: pl.Trainer) -> dict[str, Any]:
        """The state that only this rank has."""
        own = {"state": rank_state.capture(trainer), "training_metrics": _training_metrics(trainer).rank_state()}
        loop = trainer.fit_loop.epoch_loop
        own_loaders = isinstance(loop, EpochLoop) and loop.own_loaders
        return own | {"epoch_random": loop.epoch_random} if own_loaders else own  # type: ignore[attr-defined]

    def restore(self, trainer: pl.Trainer, content: dict[str, Any]) -> None:
        """Restore the state that only this rank has.

        With another number of ranks than in the checkpoint each rank gets fresh random states.

        Args:
            trainer: the Trainer, before its next batch.
            content: what the checkpoint holds under :data:`KEY`.
        """
        match_layouts(trainer.optimizers)
        ranks, metrics = content["ranks"], _training_metrics(trainer)
        if len(ranks) == self._group.size:
            own_state = ranks[self._group.rank]
            metrics.load_rank_state(own_state["training_metrics"])
            warnings = rank_state.restore(trainer, own_state["state"])
        else:
            warnings = rank_state.restore(trainer, ranks[0]["state"])
            shares = [state["training_metrics"] for state in ranks]
            metrics.load_rank_state(TrainingMetrics.share(shares, self._group.rank))
            random_state.seed_fresh(int(content["seed"]), self._group.rank, trainer.global_step)
        for warning in warnings:
            self._say(warning)

    def find_best(self) -> Checkpoint:
        """Return the file of the best weights, verified; all ranks must call this.

        Raises:
            RunError: it is damaged or missing: other weights must not silently take its place.
        """
        assert self.best.step is not None, "a finished training has stored its best weights"
        file = checkpoints.at(self._run.checkpoints, "best", self.best.step)
        problem = checkpoints.problem_of(file) if self._group.rank == 0 else ""
        if problem := self._group.from_rank_0(problem):
            raise RunError.at(
                file.path,
                f"the best weights are damaged ({problem})",
                remedy="restore the file from a copy, or start a new run",
            )
        return file


def epoch_random(own_state: dict[str, Any]) -> tuple[State | None, bool]:
    """The random states before the first batch of the epoch in which a training resumes.

    Only a module with its own loaders needs them.

    Returns:
        The states, and whether the epoch had begun; otherwise they are those of the checkpoint.
    """
    if "epoch_random" not in own_state:
        return None, True
    begun = own_state["epoch_random"] is not None
    return own_state["epoch_random"] if begun else own_state["state"]["random"], begun


def _training_metrics(trainer: pl.Trainer) -> TrainingMetrics:
    return next(callback for callback in trainer.callbacks if isinstance(callback, TrainingMetrics))  # type: ignore[attr-defined]
