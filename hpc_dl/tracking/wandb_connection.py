"""Start and end of W&B's client process, with settings for batch jobs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpc_dl.tracking.wandb_config import WandbConfig
from hpc_dl.tracking.wandb_mode import Mode, resolve_mode

if TYPE_CHECKING:
    import wandb

GLOBAL_STEP = "trainer/global_step"
"""Name of the step in every row and x-axis of every chart, as in Lightning's own W&B logger."""

INIT_TIMEOUT_S = 8
FINISH_TIMEOUT_S = 5


class Messages:
    """Messages about W&B, none of them twice, and errors, which never reach the training."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Store how to print a message of one line."""
        self._say = say
        self._printed: set[str] = set()
        self._failed = False

    def say(self, message: str) -> None:
        """Print a message unless it was printed before, as when a run reconnects."""
        if message not in self._printed:
            self._printed.add(message)
            self._say(message)

    @contextmanager
    def report_errors(self, failure: str) -> Iterator[None]:
        """Suppress all errors; report the first one.

        Args:
            failure: what failed, such as "a row could not be recorded".
        """
        try:
            yield
        except Exception as error:
            if not self._failed:
                self._failed = True
                self._say(f"W&B: {failure} ({_first_line(error)}); training continues, the journal has all rows")


class WandbConnection:
    """The W&B run of this attempt: online if possible, else offline, else none.

    Attributes:
        run: W&B's run; ``None`` while nothing is reported.
        mode: the mode in use; ``None`` before :meth:`open`.
    """

    def __init__(
        self, config: WandbConfig, folder: Path, init_arguments: Mapping[str, Any], messages: Messages
    ) -> None:
        """Prepare a connection; nothing is imported or sent yet.

        Args:
            config: the ``wandb`` section.
            folder: the run folder; W&B's files go to ``wandb/`` inside.
            init_arguments: arguments of ``wandb.init`` that describe the run.
            messages: prints messages for the user.
        """
        self.run: wandb.Run | None = None
        self.mode: Mode | None = None
        self._config = config
        self._folder = folder
        self._init_arguments = init_arguments
        self._messages = messages
        self._environment: list[str] = []

    @property
    def recording(self) -> Path:
        """The folder of the current recording; see :mod:`hpc_dl.tracking.wandb_recordings`."""
        assert self.run is not None
        return Path(self.run.dir).parent

    def open(self) -> None:
        """Start to report in the best mode that works; never raises."""
        self.run = None
        self.mode, reason = resolve_mode(self._config)
        if self.mode == "online":
            try:
                self.run = self._init("online")
                self._messages.say(f"W&B: {self.run.url}")
                return
            except Exception as error:  # of wandb, pydantic or the system; none may end the training
                self.close()  # otherwise wandb rejects the second start as a conflict with the first
                self.mode, reason = "offline", _first_line(error)
        if self.mode == "offline":
            try:
                self.run = self._init("offline")
                self._messages.say(f"W&B: recording offline; {reason}")
            except Exception as error:
                self.close()
                self.mode = "disabled"
                self._messages.say(f"W&B: not recording; {_first_line(error)}")

    def close(self) -> None:
        """End W&B's process, and restore the environment; never raises."""
        with self._messages.report_errors("its process could not be ended"), suppress(ConnectionError):
            import wandb

            wandb.teardown()  # raises ConnectionError if the process has already ended
        for variable in self._environment:
            os.environ.pop(variable, None)
        self._environment = []

    def _init(self, mode: Mode) -> wandb.Run:
        self._set_environment()
        import wandb

        run = wandb.init(
            mode=mode,
            resume="allow",
            project=self._config.project,
            entity=self._config.entity,
            group=self._config.group,
            tags=self._config.tags,
            dir=self._folder,
            **self._init_arguments,
        )
        # W&B's own step counts rows and does not restart after a resume, so that charts of several
        # runs need another axis.
        run.define_metric(GLOBAL_STEP)
        run.define_metric("*", step_metric=GLOBAL_STEP)
        return run

    def _set_environment(self) -> None:
        """Set wandb's settings for a batch job; the user's own WANDB_* variables take precedence.

        They are environment variables because some settings exist only as such, and because
        wandb's process inherits them.
        """
        files = self._folder / "wandb"
        files.mkdir(parents=True, exist_ok=True)  # without the folder, wandb silently uses the temporary one
        defaults = {
            # $HOME is small and slow on many clusters, and these files belong to the run.
            "WANDB_CACHE_DIR": str(files / "cache"),
            "WANDB_DATA_DIR": str(files / "data"),
            # The other ranks wait while rank 0 starts and ends its W&B run.
            "WANDB_INIT_TIMEOUT": str(INIT_TIMEOUT_S),
            "WANDB_X_DISABLE_VIEWER": "true",
            "WANDB_FINISH_TIMEOUT": str(FINISH_TIMEOUT_S),
            "WANDB_FINISH_TIMEOUT_RAISES": "true",
            # A killed job loses only the rows of its last second; the default is 15 s.
            "WANDB_X_TRANSACTION_LOG_FLUSH_INTERVAL": "1",
            # Standard output is for `--json`; the logs of all ranks are in the run folder.
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            # The run folder has a copy of the code. A diff or the URL of a remote may have secrets.
            "WANDB_DISABLE_CODE": "true",
            "WANDB_DISABLE_GIT": "true",
            "WANDB_ERROR_REPORTING": "false",
        }
        for variable, value in defaults.items():
            if variable not in os.environ:
                os.environ[variable] = value
                self._environment.append(variable)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
