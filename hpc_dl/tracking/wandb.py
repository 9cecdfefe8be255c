"""Reporting to Weights & Biases: whatever happens to it, the training goes on.

The journal is the record of a run; W&B shows it. So nothing in here raises into the training, nothing waits for the
network without a bound, and what goes wrong is said once. ``wandb`` is imported when a run starts to report.
"""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyExperiment, rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from hpc_dl.tracking.config import WandbConfig
from hpc_dl.tracking.mode import Mode, resolve_mode

if TYPE_CHECKING:
    import wandb

GLOBAL_STEP = "trainer/global_step"
"""The step's name in every row, and the axis of every chart: that of Lightning's own W&B logger."""

INIT_TIMEOUT_S = 8
FINISH_TIMEOUT_S = 5


class WandbTracker(Logger):
    """Shows a run in W&B; only rank zero reports.

    Example:
        tracker = WandbTracker(config.wandb, run_id=…, name=…, folder=…, run_config=…, metadata=…, say=print)
        Trainer(logger=[journal, tracker]).fit(…)
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
    ) -> None:
        """Nothing is imported or sent yet: Lightning asks for :attr:`experiment` when the ranks are known.

        Args:
            config: the ``wandb`` section.
            run_id: the run's W&B id, the same in every attempt, so that they continue one W&B run.
            name: the run's name in W&B's tables.
            folder: the run folder; W&B's files go to ``wandb/`` inside.
            run_config: the resolved experiment, as plain values.
            metadata: what is known of the attempt (Slurm ids, host, git commit, …); W&B shows it as config ``hpc_dl``.
            say: tells the user one line.
            job_type: what kind of run it is, for W&B's filters.
        """
        super().__init__()
        self._config = config
        self._run_id = run_id
        self._name = name
        self._folder = folder.absolute()
        self._run_config = {**run_config, "hpc_dl": dict(metadata)}
        self._job_type = job_type
        self._say = say
        self._run: wandb.Run | None = None
        self._mode: Mode | None = None
        self._environment: list[str] = []
        self._failed = False

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run | DummyExperiment:
        """W&B's own ``Run``; where nothing is reported (disabled, other ranks) a dummy that ignores everything."""
        if self._mode is None:
            self._start()
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
        """Send one row, with the optimizer step as :data:`GLOBAL_STEP` in it; never raises."""
        with self._said_once("a row could not be recorded"):
            self.experiment.log({**metrics, GLOBAL_STEP: step})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing to do: the resolved experiment was sent at the start."""

    @rank_zero_only
    def finish(self, exit_code: int = 0, summary: Mapping[str, float] | None = None) -> None:
        """End the W&B run, within seconds, and say what is left to upload; never raises.

        Not in ``finalize``, which Lightning calls after the training and again after the test.

        Args:
            exit_code: of this process; anything but 0 marks the W&B run as failed.
            summary: final metrics by name, shown in W&B's tables.
        """
        run, self._run = self._run, None
        if run is None:
            return
        folder = Path(run.dir).parent
        uploaded = self._mode == "online"
        with self._said_once("the summary could not be recorded"):
            run.summary.update(dict(summary or {}))
        try:
            run.finish(exit_code=exit_code)
        except Exception:  # TimeoutError: the server is slow or gone; ConnectionError: wandb's own process is gone
            uploaded = False
        self._leave()
        if not uploaded:
            self._say(f"W&B: to upload this run, where there is a network: {_sync_command(folder)}")

    def _start(self) -> None:
        """Begin to report in the best mode that works, and say which where it matters to the user."""
        self._mode, reason = resolve_mode(self._config)
        if self._mode == "online":
            try:
                self._run = self._init("online")
                self._say(f"W&B: {self._run.url}")
                return
            except Exception as error:  # wandb's errors, pydantic's, the system's: none of them may end the training
                self._leave()  # or else wandb takes the second run for a clash with the first
                self._mode, reason = "offline", _first_line(error)
        if self._mode == "offline":
            try:
                self._run = self._init("offline")
                self._say(f"W&B: recording offline; {reason}")
            except Exception as error:
                self._leave()
                self._mode = "disabled"
                self._say(f"W&B: not recording; {_first_line(error)}")

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
        # W&B's own `_step` counts rows, and goes on counting after a resume: not an axis to compare runs by.
        run.define_metric(GLOBAL_STEP)
        run.define_metric("*", step_metric=GLOBAL_STEP)
        return run

    def _set_environment(self) -> None:
        """Give wandb the settings that suit a batch job. The user's own WANDB_* variables win.

        In the environment, since some have no other place and wandb's own process inherits it; taken back at the end.
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
            # The run folder holds the snapshot of the code; a diff or a remote's URL may hold secrets.
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
        with self._said_once("its process could not be ended"):
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


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _sync_command(folder: Path) -> str:
    """The command that uploads a recorded run; of an interrupted run all attempts, which W&B joins in order."""
    if folder.name.startswith("offline-run-"):
        folders = sorted(folder.parent.glob("offline-run-*"))
        return shlex.join(["wandb", "sync", *map(str, folders)])
    return shlex.join(["wandb", "sync", "--include-online", str(folder)])
