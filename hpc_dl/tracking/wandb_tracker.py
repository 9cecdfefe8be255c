"""Reporting a run to Weights & Biases; whatever happens to W&B, the training continues.

The journal is the record of a run, and W&B displays it. Therefore nothing here raises into the
training or waits for the network without a limit, and every problem is reported once. ``wandb`` is
imported only when a run starts to report.

W&B shows one history of a run, however its attempts ended. W&B's own ``_step`` is the optimizer
step, and each step is one row. W&B cannot change a row that it has, so that a row is sent only when
no more values can follow. An attempt first sends the rows of the journal that W&B lacks, and later
skips replayed steps that W&B has.
"""

from __future__ import annotations

import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyExperiment, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_connection import GLOBAL_STEP, Messages, WandbConnection
from hpc_dl.tracking.wandb_recordings import next_step, server_refused_rows, sync_command

if TYPE_CHECKING:
    import wandb


class WandbTracker(Logger):
    """Lightning logger that reports a run to W&B from rank 0.

    Example:
        tracker = WandbTracker(config.wandb, run_id=…, name=…, folder=…, run_config=…, metadata=…,
        say=print, journal=…, from_step=…)
        Trainer(logger=[journal, tracker]).fit(…)  # the journal first: it has each row before W&B
        tracker.finish(exit_code=0, summary={"test/accuracy": 0.98})
    """

    def __init__(
        self,
        config: WandbConfig,
        *,
        run_id: str,
        name: str,
        folder: Path,
        run_config: Mapping[str, Any],
        metadata: Mapping[str, Any],
        say: Callable[[str], None],
        job_type: str = "train",
        journal: Path | None = None,
        from_step: int = 0,
    ) -> None:
        """Prepare the logger; Lightning requests :attr:`experiment` once the ranks are known.

        Args:
            config: the ``wandb`` section.
            run_id: the W&B id of the run. It is the same in all attempts, which continue one W&B
                run.
            name: the name of the run in W&B's tables.
            folder: the run folder; W&B's files go to ``wandb/`` inside.
            run_config: the resolved experiment as plain data.
            metadata: facts about the attempt (Slurm ids, host, git commit, …); W&B shows them as
                config ``hpc_dl``.
            say: called with messages for the user, one line each.
            job_type: the type of the run, for W&B's filters.
            journal: the run's journal folder, from which W&B gets the rows that it lacks. Without
                it, W&B gets only rows that are logged while it is connected.
            from_step: ``global_step`` of the checkpoint from which the attempt resumes; 0 for a
                fresh start.
        """
        super().__init__()
        self._name = name
        self._run_id = run_id
        self._folder = folder.absolute()
        self._journal = journal
        self._from_step = from_step
        self._say = say
        self._messages = Messages(say)
        arguments = {
            "id": run_id,
            "name": name,
            "job_type": job_type,
            "config": {**run_config, "hpc_dl": dict(metadata)},
        }
        self._connection = WandbConnection(config, self._folder, arguments, self._messages)
        self._next_step = 0  # the first step of which W&B has no row
        self._row: dict[str, Any] = {}  # of the newest step; more values may follow, as from a validation
        self._row_step = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run | DummyExperiment:
        """W&B's run; a dummy that ignores everything if disabled, and on ranks other than 0."""
        if self._connection.mode is None:
            self._start(self._from_step)
        return self._connection.run or DummyExperiment()

    @property
    def name(self) -> str:
        """The name of the run in W&B."""
        return self._name

    @property
    def version(self) -> str:
        """The id of the run in W&B."""
        return self._run_id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add metrics to the row of a step; never raises.

        The row is sent when a later step is logged or the run ends. It has the step as
        :data:`GLOBAL_STEP`.
        """
        assert step is not None, "Lightning passes the step of every row"
        _ = self.experiment  # starts to report if nothing has requested it yet
        with self._messages.report_errors("a row could not be recorded"):
            self._add(step, {**metrics, "_timestamp": time.time()})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the resolved experiment was sent at the start."""

    @rank_zero_only
    def finish(
        self, exit_code: int = 0, summary: Mapping[str, float] | None = None, *, preempted: bool = False
    ) -> None:
        """End the W&B run within seconds and say how to upload what is not uploaded; never raises.

        This is not part of ``finalize``, which Lightning calls after the training and after the
        test.

        Args:
            exit_code: exit status of this process; not 0 marks the W&B run as failed.
            summary: final metrics by name, shown in W&B's tables.
            preempted: whether the run stopped with a checkpoint and may resume; W&B shows it as
                preempted instead of failed.
        """
        if self._connection.run is None:
            return
        uploaded = False
        with suppress(Exception):  # a TimeoutError of a slow server, or any other: the journal has all rows
            try:
                uploaded = self._end_run(self._connection.run, exit_code, summary or {}, preempted)
            except ConnectionError:
                # Slurm sends SIGTERM to every process of a job, which has ended wandb's process. A
                # new one gets the lost rows from the journal and reports how the run ended.
                self._connection.close()
                self._start(sys.maxsize)
                if self._connection.run is not None:
                    uploaded = self._end_run(self._connection.run, exit_code, summary or {}, preempted)
        self._connection.close()
        if self._connection.run is not None and not uploaded:
            self._say(
                f"W&B: to upload this run from a machine with network: {sync_command(self._connection.recording)}"
            )
        self._connection.run = None

    def _end_run(self, run: wandb.Run, exit_code: int, summary: Mapping[str, float], preempted: bool) -> bool:
        """End the W&B run.

        Returns:
            Whether the server has all of it.

        Raises:
            ConnectionError: wandb's process has ended.
            TimeoutError: the server is slow or unreachable.
        """
        if preempted:
            exit_code = exit_code or os.EX_TEMPFAIL  # W&B regards a run that exits with 0 as finished
            run.mark_preempting()
        if exit_code == 0 or self._journal is None:
            self._send_row()
        else:
            run.summary.update(self._row)  # the next attempt sends the row, perhaps with more values
        run.summary.update(dict(summary))
        run.finish(exit_code=exit_code)
        online = self._connection.mode == "online"
        if online and server_refused_rows(self._connection.recording):
            self._messages.say("W&B: the server has refused rows (is the key still valid, is there quota left?)")
            return False
        return online

    def _start(self, until_step: int) -> None:
        """Connect, and send the rows of the journal that W&B lacks.

        Args:
            until_step: the last step of the journal to send; later ones will be replayed.
        """
        self._connection.open()
        self._next_step, self._row, self._row_step = 0, {}, 0
        run = self._connection.run
        if run is None or self._journal is None:
            return
        with self._messages.report_errors("rows of the journal could not be recorded"):
            self._next_step = self._from_step  # if reading it fails, a gap is better than a duplicate step
            if self._connection.mode == "online":
                self._next_step = run.starting_step
            else:
                self._next_step = next_step(self._folder / "wandb", self._connection.recording)
            for row in read_journal(self._journal):
                if row["step"] <= until_step:
                    values = {name: value for name, value in row.items() if value is not None}
                    self._add(values.pop("step"), {"_timestamp": values.pop("time"), **values})

    def _add(self, step: int, values: Mapping[str, Any]) -> None:
        """Add values to the row of a step; send the row of the step before; skip steps W&B has."""
        if step != self._row_step:
            self._send_row()
            self._row_step = step
        if step >= self._next_step:
            self._row.update(values)

    def _send_row(self) -> None:
        if self._row and self._connection.run is not None:
            self._connection.run.log({**self._row, GLOBAL_STEP: self._row_step}, step=self._row_step, commit=True)
            self._next_step = self._row_step + 1
        self._row = {}
