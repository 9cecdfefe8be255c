"""The study of an adaptive sweep: its points are the trials of an Optuna study.

The journal lies in the sweep's folder and needs no server. Each task asks for its own point by a
number: one that was killed and starts again finds the trial that it had. The results are in the run
folders; the study only learns of them, and is brought up to date by whoever asks next.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import BaseTrial, FrozenTrial, TrialState

from hpc_dl.studies.journal_lock import STALE_S, JournalLock
from hpc_dl.studies.trial_file import JOURNAL

_NUMBER = "number"
_DIRECTIONS: dict[str, StudyDirection] = {"min": StudyDirection.MINIMIZE, "max": StudyDirection.MAXIMIZE}
_WITHOUT_VALUE = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}

optuna.logging.set_verbosity(optuna.logging.WARNING)


Outcome = float | Literal["pruned", "failed"]
"""What came of a point: the objective; or it was pruned or has diverged, which is worse than all
values; or it failed, which says nothing about its settings."""

T = TypeVar("T")


class Study:
    """The trials of one sweep, for one definition of its points."""

    def __init__(
        self,
        folder: Path,
        name: str,
        direction: Literal["min", "max"],
        sampler: optuna.samplers.BaseSampler | None = None,
        pruner: optuna.pruners.BasePruner | None = None,
        stale_s: float = STALE_S,
    ) -> None:
        """Open the study, or begin it.

        Args:
            folder: the sweep's folder.
            name: identifies what is varied of which experiment.
            direction: whether small or large values of the objective are better.
            sampler: chooses points; ``None`` where none is asked for.
            pruner: finds out who lags; ``None`` where nothing is reported.
            stale_s: see :class:`JournalLock`.
        """
        journal = folder / JOURNAL
        self._lock = JournalLock(journal, stale_s)
        with self._lock:
            self._storage = storage = JournalStorage(JournalFileBackend(str(journal), self._lock))
            if name not in optuna.get_all_study_names(storage):
                optuna.create_study(storage=storage, study_name=name, direction=_DIRECTIONS[direction])
            self._study = optuna.load_study(
                study_name=name,
                storage=storage,
                sampler=sampler or optuna.samplers.RandomSampler(),
                pruner=pruner or optuna.pruners.NopPruner(),
            )

    def ask(self, number: int, suggest: Callable[[BaseTrial], T]) -> T:
        """Return the point with this number: the one it has, or a new one.

        Args:
            number: of the point, from 0.
            suggest: takes all parameters from a trial.
        """
        with self._lock:
            known = self._trials().get(number)
            if known is not None and known.state.is_finished() and known.params:
                return suggest(known)
            if known is not None and known.state == TrialState.RUNNING:  # by a process that was killed meanwhile
                return suggest(self._running(known))
            if known is None or known.state.is_finished():  # it failed before it got its parameters
                self._study.enqueue_trial({}, user_attrs={_NUMBER: number})
            while True:
                # Others that wait are of processes that were killed here, and ask again for theirs.
                trial = self._study.ask()
                if trial.user_attrs.get(_NUMBER) == number:
                    return suggest(trial)

    def unfinished(self) -> set[int]:
        """The numbers of the points of which the study has no value yet."""
        finished = (TrialState.COMPLETE, TrialState.PRUNED)
        return {number for number, trial in self._trials().items() if trial.state not in finished}

    def tell(self, outcomes: Mapping[int, Outcome]) -> None:
        """Record what came of points, each once; a point that had failed may have finished since.

        Args:
            outcomes: by the number of the point.
        """
        if not outcomes:
            return
        with self._lock:
            trials = self._trials()
            for number, outcome in outcomes.items():
                trial = trials.get(number)
                if trial is None or trial.state in (TrialState.COMPLETE, TrialState.PRUNED):
                    continue
                value, state = (
                    (None, _WITHOUT_VALUE[outcome]) if isinstance(outcome, str) else (outcome, TrialState.COMPLETE)
                )
                if trial.state == TrialState.RUNNING:
                    self._study.tell(trial.number, value, state)
                elif trial.state == TrialState.FAIL and state != TrialState.FAIL:
                    self._study.add_trial(
                        optuna.trial.create_trial(
                            state=state,
                            value=value,
                            params=trial.params,
                            distributions=trial.distributions,
                            user_attrs=trial.user_attrs,
                            intermediate_values=trial.intermediate_values,
                        )
                    )

    def lags(self, number: int, epoch: int, value: float) -> bool:
        """Report the objective of a point after an epoch; return whether it is to be ended.

        Args:
            number: of the point.
            epoch: how many epochs are done.
            value: of the objective.
        """
        with self._lock:
            known = self._trials().get(number)
            if known is None or known.state != TrialState.RUNNING:
                return False  # a member that was pruned and is resumed trains to its end
            if known.last_step is not None and epoch <= known.last_step:
                return False  # done again after a kill
            trial = self._running(known)
            trial.report(value, epoch)
            return trial.should_prune()

    def _trials(self) -> dict[int, FrozenTrial]:
        """The trial of each point; of several, the last one."""
        trials = self._study.get_trials(deepcopy=False)
        return {trial.user_attrs[_NUMBER]: trial for trial in trials if _NUMBER in trial.user_attrs}

    def _running(self, trial: FrozenTrial) -> optuna.trial.Trial:
        study_id = self._storage.get_study_id_from_name(self._study.study_name)
        trial_id = self._storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
        return optuna.trial.Trial(self._study, trial_id)


def tpe(seed: int) -> optuna.samplers.BaseSampler:
    """The tree-structured Parzen estimator over all parameters together (Bergstra et al., 2011).

    Points that still run count as bad, so that tasks which ask at the same time get different ones.

    Args:
        seed: of the draws.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def successive_halving(min_epochs: int, reduction_factor: int) -> optuna.pruners.BasePruner:
    """Asynchronous successive halving (Li et al., 2020).

    Args:
        min_epochs: after how many epochs a point is compared for the first time.
        reduction_factor: one of so many goes on; the number of epochs grows by this factor.
    """
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=min_epochs, reduction_factor=reduction_factor)
