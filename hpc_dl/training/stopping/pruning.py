"""Ending a run that lags behind the other runs of its sweep."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from hpc_dl.errors import RunError
from hpc_dl.learning.direction import direction
from hpc_dl.runs.folder import RunFolder
from hpc_dl.studies.trial_file import RunTrial, read_trial
from hpc_dl.training.stopping import signals

if TYPE_CHECKING:
    from hpc_dl.studies.study import Study


def pruning_of(
    run: RunFolder, say: Callable[[str], None], reporting: Callable[[], AbstractContextManager[None]]
) -> Pruning | None:
    """Return the callback for a member of a sweep that ends those that lag; ``None`` for others.

    Args:
        run: the run.
        say: shows the user one line.
        reporting: a context for the time of a report, such as a phase of the watchdog.

    Raises:
        RunError: the run has no point of its sweep yet, or what its folder says is damaged.
    """
    trial = read_trial(run)
    if trial is not None and trial.point is None:
        raise RunError.at(run.name, "has no point of its sweep yet", remedy="start it with `hpc-dl resume`")
    if trial is None or trial.pruning is None:
        return None
    return Pruning(run.path.parent, trial, trial.pruning, say, reporting)


class Pruning(Callback):
    """Reports the objective after each epoch with a validation, and ends the training if it lags.

    One rank does that. A sweep that cannot be reached costs no training: it goes on.
    """

    def __init__(
        self,
        sweep: Path,
        trial: RunTrial,
        pruning: dict[str, int],
        say: Callable[[str], None],
        reporting: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._sweep = sweep
        self._trial = trial
        self._pruning = pruning
        self._say = say
        self._reporting = reporting
        self._study: Study | None = None
        self._last_epoch = -1

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch before: what a module logs at an epoch's end is known only now."""
        self._report(trainer)

    def _report(self, trainer: pl.Trainer) -> None:
        """Report once after each epoch; after the last one nothing is left to end."""
        epochs, value = trainer.current_epoch, trainer.callback_metrics.get(self._trial.objective)
        if epochs == 0 or epochs == self._last_epoch or value is None:
            return
        self._last_epoch = epochs
        try:
            with self._reporting():
                if self._opened().lags(self._trial.number, epochs, float(value)):
                    signals.request("pruned", "the sweep")
        except Exception as error:
            self._say(
                f"Epoch {epochs} could not be recorded in the study of the sweep: {type(error).__name__}: {error}"
            )

    def _opened(self) -> Study:
        if self._study is None:
            from hpc_dl.studies.study import Study, successive_halving

            best = direction(self._trial.objective, "auto")
            self._study = Study(self._sweep, self._trial.study, best, pruner=successive_halving(**self._pruning))
        return self._study
