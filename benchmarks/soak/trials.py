"""The trials: runs with faults, resumed until they finish, and compared with an undisturbed one."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.soak.attempts import Attempt
from benchmarks.soak.faults import FAULTS, PlannedFault, promised_steps
from benchmarks.soak.moments import wait_for_moment
from benchmarks.soak.runs import STEPS, prepare_run
from benchmarks.soak.schedule import schedule
from hpc_dl.errors import Stopped
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state

FAILED = 1  # exit status of a launcher whose ranks ended with an error


@dataclass
class Trial:
    """The effect of one fault.

    Attributes:
        run: number of the run, from 1; a run has several trials.
        configuration: of the run.
        attempt: number of the attempt, from 0.
        shot: the fault as planned.
        status: exit status of the launcher, negative after a signal; ``None`` if it kept running.
        reached: last optimizer step before the fault, as far as the run has recorded it.
        resumed_from: the step from which the next attempt resumed.
        seconds: from the fault to the end of all processes of the attempt.
        survived: the run finished.
        identical: weights, optimizer, random states, journal and result equal the reference's.
        problem: what was not as promised.
    """

    run: int
    configuration: str
    attempt: int
    shot: PlannedFault
    status: int | None = None
    reached: int = 0
    resumed_from: int | None = None
    seconds: float = 0.0
    survived: bool = False
    identical: bool = False
    problem: str = ""

    @property
    def lost(self) -> int | None:
        """The steps that are repeated; ``None`` if the fault did not end the attempt."""
        return None if self.resumed_from is None else max(0, self.reached - self.resumed_from)


@dataclass
class Reference:
    """An undisturbed run.

    Attributes:
        run: its folder.
        seconds: its duration.
    """

    run: RunFolder
    seconds: float


@dataclass
class Soak:
    """All runs of one soak test.

    Attributes:
        folder: for data and runs.
        seed: of the faults.
        trials: the faults so far.
        references: the undisturbed runs so far, by configuration.
        runs: number of disturbed runs so far.
    """

    folder: Path
    seed: int
    trials: list[Trial] = field(default_factory=list)
    references: dict[str, Reference] = field(default_factory=dict)
    runs: int = 0

    def run_for(self, seconds: float, show: Callable[[Trial], None], most_runs: int | None = None) -> None:
        """Disturb runs until the time is over; the last run is brought to its end.

        Args:
            seconds: time limit, to which the undisturbed runs do not count.
            show: is called with each trial when its run has ended.
            most_runs: end after so many runs; as many as there is time for by default.
        """
        deadline = time.monotonic() + seconds
        for configuration, faults in itertools.islice(schedule(self.seed), most_runs):
            if time.monotonic() >= deadline:
                return
            start = time.monotonic()
            reference = self._reference(configuration)
            deadline += time.monotonic() - start
            self.runs += 1
            trials = self._disturb_run(configuration, faults, reference, deadline)
            self.trials += trials
            for trial in trials:
                show(trial)

    def _reference(self, configuration: str) -> Reference:
        if configuration not in self.references:
            run = prepare_run(self.folder, configuration)
            attempt = Attempt(run)
            attempt.wait()
            seconds = time.monotonic() - attempt.started
            if attempt.status != 0 or not _is_finished(run):
                raise RuntimeError(f"the undisturbed run failed: {read_state(run).get('reason')}; see {run.path}")
            steps = json.loads(run.result.read_text())["steps"]
            assert steps == STEPS, f"{configuration}: {steps} steps"
            self.references[configuration] = Reference(run, seconds)
        return self.references[configuration]

    def _disturb_run(
        self, configuration: str, faults: list[PlannedFault], reference: Reference, deadline: float
    ) -> list[Trial]:
        """Apply faults to one run, resume it until it finishes, and compare it."""
        run = prepare_run(self.folder, configuration)
        trials: list[Trial] = []
        problem = ""
        attempt = Attempt(run, cold=faults[0].cold)
        try:
            for num_remaining, fault in zip(range(len(faults), 0, -1), faults, strict=True):
                if time.monotonic() >= deadline:
                    break
                if not attempt.is_running():
                    if _is_finished(run):
                        break
                    attempt = Attempt(run, attempt.number + 1, cold=fault.cold)
                if wait_for_moment(attempt, fault, num_remaining, configuration, reference.seconds):
                    trial = Trial(self.runs, configuration, attempt.number, fault)
                    trials.append(trial)
                    _apply_fault(attempt, trial, trials)
                _note_resume_step(trials, attempt)
            for _ in range(3 + len(faults)):
                attempt.wait()
                _note_resume_step(trials, attempt)
                if _is_finished(run):
                    break
                attempt = Attempt(run, attempt.number + 1)
            if _is_finished(run):
                problem = "; ".join(map(str, differences(reference.run, run)[:3]))
                for trial in trials:
                    trial.survived, trial.identical = True, not problem
            else:
                problem = f"did not finish: {read_state(run).get('reason')}"
        except (OSError, ValueError, LookupError, RuntimeError) as error:  # TimeoutError is an OSError
            problem = f"{type(error).__name__}: {error}"
        finally:
            attempt.kill()
        for trial in trials:
            allowed = allowed_steps(trial, trials)
            if trial.lost is not None and allowed is not None and trial.lost > allowed:
                trial.problem = trial.problem or f"lost {trial.lost} steps, at most {allowed} are promised"
            trial.problem = trial.problem or (problem and f"{problem}; see {run.path}")
        if not any(trial.problem for trial in trials):
            shutil.rmtree(run.path)
        return trials


def _is_finished(run: RunFolder) -> bool:
    return bool(read_state(run)["state"] == "finished")


def _apply_fault(attempt: Attempt, trial: Trial, trials: Sequence[Trial]) -> None:
    """Cause the fault; if it ends the attempt, wait for that and note how it ended."""
    fault = FAULTS[trial.shot.fault]
    training_had_started = attempt.from_step is not None
    start = time.monotonic()
    fault.apply(attempt, trial.shot)
    if not fault.ends:
        trial.reached = attempt.last_step()
        return
    attempt.wait()
    trial.seconds = round(time.monotonic() - start, 3)
    trial.status = attempt.status
    trial.reached = attempt.last_step()
    state = read_state(attempt.run)
    if state["state"] in ("stopped", "finished"):
        trial.reached = max(trial.reached, state["step"])
    allowed = {0, Stopped.exit_status}
    if any(_disk_was_full(earlier, trial) for earlier in trials):
        allowed.add(FAILED)  # the last checkpoint may have met the full disk before the signal came
    if fault.graceful and training_had_started and attempt.status not in allowed:
        trial.problem = f"ended with status {attempt.status} ({state.get('reason')}); see {attempt.run.path}"


def _note_resume_step(trials: Sequence[Trial], attempt: Attempt) -> None:
    """Note where this attempt resumed, for the faults that ended earlier ones."""
    for trial in trials:
        if trial.status is not None and trial.attempt < attempt.number and trial.resumed_from is None:
            trial.resumed_from = attempt.from_step


def allowed_steps(trial: Trial, trials: Sequence[Trial]) -> int | None:
    """The largest number of steps that a fault may cost, given the faults before it.

    Args:
        trial: the fault.
        trials: all faults of its run, or of all runs, in order.

    Returns:
        ``None`` if there is no bound.
    """
    allowed = promised_steps(FAULTS[trial.shot.fault], trial.configuration)
    for earlier in trials[: trials.index(trial)]:
        if not _disk_was_full(earlier, trial):
            continue
        # A run that ended because it could not save loses what came after the last checkpoint.
        if trial.status == FAILED:
            return None
        # After a full disk the next checkpoint is an interval away. The journal lags behind the
        # training, so allow for two intervals.
        if allowed and trial.reached - earlier.reached < 2 * allowed:
            return None
    return allowed


def _disk_was_full(earlier: Trial, trial: Trial) -> bool:
    """Whether an earlier fault filled the disk during the attempt that a later fault hit."""
    same_attempt = (earlier.run, earlier.attempt) == (trial.run, trial.attempt)
    return same_attempt and FAULTS[earlier.shot.fault].damaged_checkpoints is None
