"""Reporting a run to Weights & Biases; whatever happens to W&B, the training continues.

The journal is the record of a run, and all that W&B gets comes from it. So this logger writes each
row into the journal, from which a thread reads it. What it adds is the
``wandb.Run`` for a user's own code, whose rows go into the journal as well.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyExperiment, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from hpc_dl.tracking.journal import JournalWriter, without_reserved_names
from hpc_dl.tracking.journal_logger import JournalLogger
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_description import Description, Outcome
from hpc_dl.tracking.wandb_media import FILES
from hpc_dl.tracking.wandb_mode import resolve_mode
from hpc_dl.tracking.wandb_on_demand import AfterImport, RunOnDemand
from hpc_dl.tracking.wandb_record import WandbRecord
from hpc_dl.tracking.wandb_reporter import Reporter
from hpc_dl.tracking.wandb_rows import LOGGED

if TYPE_CHECKING:
    from hpc_dl.tracking.wandb_run import RecordedRun

SETTINGS = LOGGED / "settings.jsonl"
"""Where a run folder has what a user's code has set in ``wandb.config`` and ``wandb.summary``."""


class WandbTracker(Logger):
    """Lightning logger that reports a run to W&B from rank 0.

    Example:
        tracker = WandbTracker(config.wandb, journal, folder=…, attempt=0, from_step=0, …)
        trainer = Trainer(logger=tracker)
        tracker.attach(lambda: trainer.global_step)
        tracker.finish(FINISHED)
    """

    def __init__(
        self,
        config: WandbConfig,
        journal: JournalLogger,
        *,
        folder: Path,
        attempt: int,
        from_step: int,
        describe: Callable[[], Description],
        say: Callable[[str], None],
        sync_command: str,
        stop: Callable[[], None] = lambda: None,
        num_nodes: int = 1,
    ) -> None:
        """Prepare the logger; Lightning requests :attr:`experiment` once the ranks are known.

        Args:
            config: the ``wandb`` section.
            journal: the logger that writes the run's journal.
            folder: the run folder.
            attempt: number of the attempt, from 0.
            from_step: ``global_step`` of the checkpoint from which the attempt resumes; 0 for a
                fresh start.
            describe: returns the description of the run for W&B, as far as it is known.
            say: called with messages for the user, one line each.
            sync_command: the command that uploads the run.
            stop: called, from a thread, when a user presses the Stop button in W&B.
            num_nodes: number of nodes whose load is reported.
        """
        super().__init__()
        self._config = config
        self._journal = journal
        self._folder = folder.absolute()
        self._attempt = attempt
        self._from_step = from_step
        self._describe = describe
        self._say = say
        self._sync_command = sync_command
        self._stop = stop
        self._num_nodes = num_nodes
        self._said: set[str] = set()
        self._step: Callable[[], int] | None = None
        self._logged: JournalWriter | None = None
        self._started = False
        self._run: RecordedRun | None = None
        self._on_demand: RunOnDemand | None = None
        self._import: AfterImport | None = None
        self._reporter: Reporter | None = None
        self._offline = False

    def attach(self, step: Callable[[], int]) -> None:
        """Set how to find the global step of what a user's code logs."""
        self._step = step

    def ignore_calls(self) -> None:
        """Ignore what a user's code logs to W&B: this rank is not rank 0."""

        def ignore() -> None:
            from hpc_dl.tracking.wandb_run import UnrecordedRun

            UnrecordedRun(lambda message: None).make_global()

        if "wandb" in sys.modules:
            ignore()
        else:
            self._import = AfterImport("wandb", ignore)

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The ``wandb.Run`` for a user's code; a dummy that ignores everything on other ranks."""
        if not self._started:
            self._started = True
            try:
                self._start()
            except Exception as error:  # of wandb, pydantic or the system; none may end the training
                self._say_once(f"W&B: not reporting ({_first_line(error)}); the journal has all rows.")
        return self._run or self._on_demand or DummyExperiment()

    @property
    def name(self) -> str:
        """The name of the logger."""
        return "wandb"

    def __getattr__(self, name: str) -> Any:
        """Lightning's ``WandbLogger`` has further methods, such as ``log_image``."""
        from hpc_dl.tracking.other_loggers_calls import WandbLoggerCalls

        method = None if name.startswith("_") else getattr(WandbLoggerCalls, name, None)
        if method is None:
            raise AttributeError(f"self.logger has no {name}; log with self.log or self.logger.experiment.log")
        return method.__get__(self)

    @property
    def version(self) -> int:
        """The number of the attempt."""
        return self._attempt

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write the row into the journal, from which W&B gets it.

        Args:
            metrics: values by name.
            step: of Lightning's rows; a user's code may give none, or a counter of its own.

        Raises:
            OSError: the journal cannot be written.
        """
        _ = self.experiment  # starts to report if nothing has requested it yet
        now = self._step() if self._step is not None else self._from_step if step is None else step
        row = without_reserved_names({name: value for name, value in metrics.items() if name != "epoch"})
        if "epoch" in metrics:  # as Lightning passes it
            row["epoch"] = metrics["epoch"]
        self._journal.log_metrics(row, step if step is not None and abs(step - now) <= 1 else now)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: W&B gets the resolved experiment from the run folder."""

    @rank_zero_only
    def finish(self, outcome: Outcome, limit_s: float | None = None) -> None:
        """End the report within a minute, and say how to send what W&B lacks; never raises.

        This is not part of ``finalize``, which Lightning calls after the training and after the
        test.

        Args:
            outcome: how the attempt ended.
            limit_s: longest wait; by default a minute.
        """
        uploaded = True
        if self._reporter is not None:
            uploaded = self._reporter.finish(outcome) if limit_s is None else self._reporter.finish(outcome, limit_s)
        if not uploaded or self._offline:
            self._say(f"W&B: to upload this run from a machine with network: {self._sync_command}")
        self._reporter, self._offline = None, False
        if self._import is not None:
            self._import.stop()
        if self._run is not None:
            from hpc_dl.tracking.wandb_run import end_globals

            end_globals()
            self._run = None

    def _start(self) -> None:
        mode, reason = resolve_mode(self._config)
        if mode == "disabled":
            if "wandb" in sys.modules:  # the module imports it
                self._make_run("disabled", "disabled")
            else:
                self._on_demand = RunOnDemand(self._run_on_demand)
                self._import = AfterImport("wandb", self._run_on_demand)
        else:
            record = WandbRecord.of(self._folder)
            description = self._describe()
            if mode == "online":
                journal = self._folder / "journal"
                self._reporter = Reporter(
                    self._folder, journal, self._attempt, self._describe, self._say, self._stop, self._num_nodes
                )
                self._reporter.start()
            else:
                self._offline = True
                self._say_once(f"W&B: recording offline; {reason}")
            self._make_run(record.id, description.name)

    def _global_step(self) -> int:
        return self._from_step if self._step is None else self._step()

    def _run_on_demand(self) -> Any:
        try:
            return self._make_run("disabled", "disabled")
        except Exception as error:  # as in `experiment`
            self._say_once(f"W&B: what the module logs to it is not recorded ({_first_line(error)})")
            return DummyExperiment()

    def _make_run(self, run_id: str, name: str) -> RecordedRun:
        """Make the run of a user's code, unless there is one."""
        if self._import is not None:
            self._import.stop()
        if self._run is None:
            from hpc_dl.tracking.wandb_run import RecordedRun

            project, files = self._config.project, self._folder / FILES
            self._run = RecordedRun(
                run_id, name, project, files, self._global_step, self._record, self._note, self._say_once
            )
            self._run.make_global()
        return self._run

    def _record(self, numbers: Mapping[str, Any], others: Mapping[str, Any], step: int) -> None:
        """Record a row of a user's code; the journal's errors end the training, others do not."""
        if numbers:
            self._journal.log_metrics(without_reserved_names(numbers), step)
        if others:
            try:
                if self._logged is None:
                    self._logged = JournalWriter(self._folder / LOGGED, self._attempt, self._from_step)
                self._logged.write(without_reserved_names(others), step)
            except (OSError, ValueError) as error:
                self._say_once(f"W&B: images and other media cannot be recorded ({_first_line(error)})")

    def _note(self, what: str, values: Mapping[str, Any]) -> None:
        try:
            (self._folder / LOGGED).mkdir(parents=True, exist_ok=True)
            with (self._folder / SETTINGS).open("a", encoding="utf-8") as file:
                file.write(json.dumps({what: values}) + "\n")
        except OSError as error:
            self._say_once(f"W&B: wandb.{what} cannot be recorded ({_first_line(error)})")

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._say(message)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
