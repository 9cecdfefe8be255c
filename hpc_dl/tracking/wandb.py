"""Reporting to Weights & Biases: whatever happens to it, the training goes on.

The journal is the record of a run; W&B shows it. So nothing in here raises into the training,
nothing waits for the network without a bound, and what goes wrong is said once. ``wandb`` is
imported when a run starts to report.

One history in W&B, however the attempts of a run ended: W&B's own ``_step`` is the optimizer step,
and each step is one row, sent when nothing more can come to it, for W&B cannot amend a row. An
attempt begins by sending what W&B lacks, from the journal, and leaves out the replayed steps that
W&B has.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyExperiment, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from hpc_dl.tracking.config import WandbConfig
from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.mode import Mode, resolve_mode

if TYPE_CHECKING:
    import wandb

GLOBAL_STEP = "trainer/global_step"
"""The step's name in every row, and the axis of every chart: that of Lightning's own W&B logger."""

INIT_TIMEOUT_S = 8
FINISH_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
"""Bound on reading back what was recorded offline: a million rows take that long."""


class WandbTracker(Logger):
    """Shows a run in W&B; only rank zero reports.

    Example:
        tracker = WandbTracker(config.wandb, run_id=…, name=…, folder=…, run_config=…, metadata=…,
        say=print,
                               journal=…, from_step=…)
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
        """Nothing is imported or sent yet: Lightning asks for :attr:`experiment` when the ranks are
        known.

        Args:
            config: the ``wandb`` section.
            run_id: the run's W&B id, the same in every attempt, so that they continue one W&B run.
            name: the run's name in W&B's tables.
            folder: the run folder; W&B's files go to ``wandb/`` inside.
            run_config: the resolved experiment, as plain values.
            metadata: what is known of the attempt (Slurm ids, host, git commit, …); W&B shows it as
                config ``hpc_dl``.
            say: tells the user one line.
            job_type: what kind of run it is, for W&B's filters.
            journal: the run's journal folder, from which W&B gets what it lacks; without it W&B has
                only what is logged while it listens.
            from_step: the ``global_step`` of the checkpoint that the attempt goes on from; 0 for a
                fresh start.
        """
        super().__init__()
        self._config = config
        self._run_id = run_id
        self._name = name
        self._folder = folder.absolute()
        self._run_config = {**run_config, "hpc_dl": dict(metadata)}
        self._job_type = job_type
        self._say = say
        self._journal = journal
        self._from_step = from_step
        self._run: wandb.Run | None = None
        self._mode: Mode | None = None
        self._environment: list[str] = []
        self._failed = False
        self._told: set[str] = set()
        self._next_step = 0  # the first step that W&B has no row of
        self._row: dict[str, Any] = {}  # of the newest step, which may get more values, such as those of a validation
        self._row_step = 0

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run | DummyExperiment:
        """W&B's own ``Run``; where nothing is reported (disabled, other ranks) a dummy that ignores
        everything.
        """
        if self._mode is None:
            self._start(self._from_step)
        return self._run or DummyExperiment()

    @property
    def name(self) -> str:
        """The run's name in W&B."""
        return self._name

    @property
    def version(self) -> str:
        """The run's id in W&B."""
        return self._run_id

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of a step, with the step as :data:`GLOBAL_STEP` in it; never raises.

        The row is sent when a later step begins, or the run ends.
        """
        assert step is not None, "Lightning gives the step with every row"
        _ = self.experiment  # starts to report where nobody has asked for it yet
        with self._said_once("a row could not be recorded"):
            self._add(step, {**metrics, "_timestamp": time.time()})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the resolved experiment was sent at the start."""

    @rank_zero_only
    def finish(
        self, exit_code: int = 0, summary: Mapping[str, float] | None = None, *, preempted: bool = False
    ) -> None:
        """End the W&B run, within seconds, and say what is left to upload; never raises.

        Not in ``finalize``, which Lightning calls after the training and again after the test.

        Args:
            exit_code: of this process; anything but 0 marks the W&B run as failed.
            summary: final metrics by name, shown in W&B's tables.
            preempted: the run stopped with a checkpoint and may go on: W&B shows it as preempted,
                not as failed.
        """
        if self._run is None:
            return
        uploaded = False
        with suppress(Exception):  # TimeoutError: the server is slow or gone; whatever else: the journal has it all
            try:
                uploaded = self._conclude(self._run, exit_code, summary or {}, preempted)
            except ConnectionError:
                # SIGTERM, which Slurm sends to every process of a job, has ended wandb's own
                # process. A new one gets from the journal what the old one took with it, and tells
                # W&B how the run ended.
                self._leave()
                self._start(sys.maxsize)
                if self._run is not None:
                    uploaded = self._conclude(self._run, exit_code, summary or {}, preempted)
        self._leave()
        if self._run is not None and not uploaded:
            command = _sync_command(Path(self._run.dir).parent)
            self._say(f"W&B: to upload this run, where there is a network: {command}")
        self._run = None

    def _conclude(self, run: wandb.Run, exit_code: int, summary: Mapping[str, float], preempted: bool) -> bool:
        """End the W&B run.

        Returns:
            Whether all of it is on the server.

        Raises:
            ConnectionError: wandb's own process is gone.
            TimeoutError: the server is slow or gone.
        """
        if preempted:
            exit_code = exit_code or os.EX_TEMPFAIL  # W&B takes a run that exits with 0 for finished
            run.mark_preempting()
        if exit_code == 0 or self._journal is None:
            self._send_row()
        else:
            run.summary.update(self._row)  # as a row it is left to the next attempt, which may have more of it
        run.summary.update(dict(summary))
        run.finish(exit_code=exit_code)
        if self._mode == "online" and _refused(Path(run.dir).parent):
            self._tell("W&B: the server has refused rows (is the key still valid, is there quota left?)")
            return False
        return self._mode == "online"

    def _start(self, until_step: int) -> None:
        """Begin to report, with what W&B lacks of the history so far.

        Args:
            until_step: the last step of the journal that is part of the history, and not going to
                be replayed.
        """
        self._run = None
        self._connect()
        self._next_step, self._row, self._row_step = 0, {}, 0
        if self._run is None or self._journal is None:
            return
        with self._said_once("rows of the journal could not be recorded"):
            self._next_step = self._from_step  # if that cannot be read: rather a gap than a step twice
            self._next_step = self._run.starting_step if self._mode == "online" else self._recorded()
            for row in read_journal(self._journal):
                if row["step"] <= until_step:
                    values = {name: value for name, value in row.items() if value is not None}
                    self._add(values.pop("step"), {"_timestamp": values.pop("time"), **values})

    def _add(self, step: int, values: Mapping[str, Any]) -> None:
        """Add values to the row of a step, which ends the row before it; those that W&B has are
        left out.
        """
        if step != self._row_step:
            self._send_row()
            self._row_step = step
        if step >= self._next_step:
            self._row.update(values)

    def _send_row(self) -> None:
        if self._row and self._run is not None:
            self._run.log({**self._row, GLOBAL_STEP: self._row_step}, step=self._row_step, commit=True)
            self._next_step = self._row_step + 1
        self._row = {}

    def _recorded(self) -> int:
        """The first step that no earlier attempt has recorded, for ``wandb sync`` never leaves out
        a step.

        By wandb's own reader, for what a kill took along is known from the file only. Steps ascend
        from one recording to the next, so that the newest one with any row has the last.
        """
        assert self._run is not None
        for path in reversed(_recordings(self._folder / "wandb")):
            if path == Path(self._run.dir).parent:
                continue
            command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
            reader = subprocess.run(command, capture_output=True, text=True, timeout=READ_TIMEOUT_S, check=False)
            rows = [line for line in reader.stdout.splitlines() if '"type":"history"' in line]
            if rows:
                return int(json.loads(rows[-1])["history"]["step"].get("num", 0)) + 1
        return 0

    def _connect(self) -> None:
        """Take the best mode that works, and say which where it matters to the user."""
        self._mode, reason = resolve_mode(self._config)
        if self._mode == "online":
            try:
                self._run = self._init("online")
                self._tell(f"W&B: {self._run.url}")
                return
            except Exception as error:  # wandb's errors, pydantic's, the system's: none of them may end the training
                self._leave()  # or else wandb takes the second run for a clash with the first
                self._mode, reason = "offline", _first_line(error)
        if self._mode == "offline":
            try:
                self._run = self._init("offline")
                self._tell(f"W&B: recording offline; {reason}")
            except Exception as error:
                self._leave()
                self._mode = "disabled"
                self._tell(f"W&B: not recording; {_first_line(error)}")

    def _init(self, mode: Mode) -> wandb.Run:
        self._set_environment()
        import wandb

        run = wandb.init(
            mode=mode,
            id=self._run_id,
            resume="allow",
            name=self._name,
            project=self._config.project,
            entity=self._config.entity,
            group=self._config.group,
            tags=self._config.tags,
            job_type=self._job_type,
            config=self._run_config,
            dir=self._folder,
        )
        # W&B's own `_step` counts rows, and goes on counting after a resume: not an axis to compare
        # runs by.
        run.define_metric(GLOBAL_STEP)
        run.define_metric("*", step_metric=GLOBAL_STEP)
        return run

    def _set_environment(self) -> None:
        """Give wandb the settings that suit a batch job. The user's own WANDB_* variables win.

        In the environment, since some have no other place and wandb's own process inherits it;
        taken back at the end.
        """
        files = self._folder / "wandb"
        files.mkdir(parents=True, exist_ok=True)  # where it is missing, wandb silently writes to the temporary folder
        defaults = {
            # $HOME is small and slow on many clusters, and no place for what belongs to a run.
            "WANDB_CACHE_DIR": str(files / "cache"),
            "WANDB_DATA_DIR": str(files / "data"),
            # The ranks wait while rank zero starts and ends.
            "WANDB_INIT_TIMEOUT": str(INIT_TIMEOUT_S),
            "WANDB_X_DISABLE_VIEWER": "true",
            "WANDB_FINISH_TIMEOUT": str(FINISH_TIMEOUT_S),
            "WANDB_FINISH_TIMEOUT_RAISES": "true",
            # A killed job keeps all rows but the last second's; the default is 15 s.
            "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1",
            # Standard output belongs to `--json`, and the logs of each rank are in the run folder.
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            # The run folder holds the snapshot of the code; a diff or a remote's URL may hold
            # secrets.
            "WANDB_DISABLE_CODE": "true",
            "WANDB_DISABLE_GIT": "true",
            "WANDB_ERROR_REPORTING": "false",
        }
        for variable, value in defaults.items():
            if variable not in os.environ:
                os.environ[variable] = value
                self._environment.append(variable)

    def _leave(self) -> None:
        """End wandb's own process, and take back what was set in the environment."""
        with self._said_once("its process could not be ended"), suppress(ConnectionError):  # it is gone already
            import wandb

            wandb.teardown()
        for variable in self._environment:
            os.environ.pop(variable, None)
        self._environment = []

    @contextmanager
    def _said_once(self, failure: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._say(f"W&B: {failure} ({_first_line(error)}); training goes on, the journal has it all")

    def _tell(self, line: str) -> None:
        """Say a line unless it was said before: a run that reports anew most often does so as
        before.
        """
        if line not in self._told:
            self._told.add(line)
            self._say(line)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _refused(folder: Path) -> bool:
    """Whether the server has refused rows for good, of which wandb tells only its own log."""
    try:
        return "filestream: fatal error" in (folder / "logs" / "debug-internal.log").read_text(errors="replace")
    except OSError:
        return False


def _recordings(files: Path) -> list[Path]:
    """W&B's folders of all attempts, online and offline, in the order of their starts.

    Two of the same second are one attempt's, which a server has refused: it records offline after
    that.
    """
    folders = [path for path in files.glob("*run-*") if not path.is_symlink()]
    return sorted(folders, key=lambda path: (path.name.removeprefix("offline-"), path.name.startswith("offline-")))


def _sync_command(folder: Path) -> str:
    """The command that uploads a recorded run.

    Of an interrupted run it has all offline attempts, but those before an online one, which has
    brought their rows. One at a time: ``wandb sync`` skips what follows a file that is empty or
    ends within a record, as a kill leaves it.
    """
    if not folder.name.startswith("offline-run-"):
        return shlex.join(["wandb", "sync", "--include-online", str(folder)])
    folders: list[str] = []
    for path in _recordings(folder.parent):
        folders = [*folders, str(path)] if path.name.startswith("offline-") else []
    if len(folders) == 1:
        return shlex.join(["wandb", "sync", *folders])
    return f'for run in {shlex.join(folders)}; do wandb sync "$run"; done'
