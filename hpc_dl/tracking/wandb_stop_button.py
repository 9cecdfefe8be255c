"""The Stop button of a run's page in W&B."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hpc_dl.tracking.wandb_account import Account
from hpc_dl.tracking.wandb_errors import Once, WandbError
from hpc_dl.tracking.wandb_server import WandbServer

INTERVAL_S = 7.5
"""Between two questions."""
LONGEST_INTERVAL_S = 300.0
"""The same after many questions without an answer."""

_TIMEOUT_S = (3.0, 5.0)


class StopButton:
    """Stops the training when the button was pressed.

    W&B says so in its responses to the file stream, which is what its own client reads, and when it
    is asked. Whether it takes that back when the run resumes is not documented. So the run folder
    notes which run has stopped, until W&B says that the button is not pressed.
    """

    def __init__(self, run_folder: Path, stop: Callable[[], None]) -> None:
        """Ask nothing yet.

        Args:
            run_folder: the run.
            stop: called when the button was pressed.
        """
        self._note = run_folder / "wandb" / "stopped"
        self._stop = stop
        self._server: WandbServer | None = None
        self._unanswered = 0  # questions in a row
        self._next = time.monotonic() + INTERVAL_S

    @property
    def wait_s(self) -> float:
        """Seconds until the next question."""
        return max(0.0, self._next - time.monotonic())

    def ask(self, account: Account, place: tuple[str, str, str]) -> None:
        """Ask once; without an answer nothing happens, and the next question comes later.

        Args:
            account: server and credentials.
            place: entity, project and id of the run.
        """
        if self._server is None:
            self._server = WandbServer(account, Once(), _TIMEOUT_S)
        wait_s = INTERVAL_S
        try:
            if self._server.is_stopped(*place):
                self.pressed(place[2])
            else:
                with suppress(OSError):
                    self._note.unlink(missing_ok=True)
            self._unanswered = 0
        except WandbError as error:
            self._unanswered += 1
            wait_s = min(INTERVAL_S * 2 ** min(self._unanswered, 10), LONGEST_INTERVAL_S)
            wait_s = max(wait_s, getattr(error, "retry_after_s", None) or 0.0)
        self._next = time.monotonic() + wait_s

    def pressed(self, run_id: str) -> None:
        """Stop the training, unless it has stopped for this before and was resumed."""
        with suppress(OSError):  # no such file
            if self._note.read_text(encoding="utf-8") == run_id:
                return
        with suppress(OSError):  # a full disk: the training stops all the same
            self._note.parent.mkdir(exist_ok=True)
            self._note.write_text(run_id, encoding="utf-8")
        self._stop()
