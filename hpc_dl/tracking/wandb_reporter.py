"""Reporting a run to W&B while it is trained: a thread that sends what the journal gets."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpc_dl.tracking import system_metrics
from hpc_dl.tracking.system_metrics import OtherNodes, SystemMetrics
from hpc_dl.tracking.wandb_account import NoCredentials, account
from hpc_dl.tracking.wandb_description import RUNNING, Description, Outcome
from hpc_dl.tracking.wandb_errors import Patience, Refused, Unavailable, WandbError
from hpc_dl.tracking.wandb_record import WandbRecord, upload_lock
from hpc_dl.tracking.wandb_rows import GrowingRows
from hpc_dl.tracking.wandb_server import WandbServer
from hpc_dl.tracking.wandb_stop_button import StopButton
from hpc_dl.tracking.wandb_upload import Upload

INTERVAL_S = 15.0
"""Between two uploads, as in W&B's client; ``WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL`` changes it."""
REFUSED_INTERVAL_S = 300.0
FINISH_S = 60.0
"""Longest wait at the end of a training; ``WANDB_FINISH_TIMEOUT`` changes it."""
UNREACHED_S = 5.0
"""The same where the server has never been reached, as on a node without a network."""

_REMARK = " The training is not affected, the journal has all rows."
_LONGEST_S = 86_400.0


class Reporter:
    """The thread that reports one attempt of a run; its errors never reach the training."""

    def __init__(
        self,
        run_folder: Path,
        journal: Path,
        attempt: int,
        describe: Callable[[], Description],
        say: Callable[[str], None],
        stop: Callable[[], None],
        num_nodes: int = 1,
    ) -> None:
        """Prepare to report.

        Args:
            run_folder: the run.
            journal: its journal folder.
            attempt: number of the attempt.
            describe: returns the description of the run for W&B.
            say: called with messages for the user, one line each, from the thread.
            stop: called, from the thread, when a user presses the Stop button in W&B.
            num_nodes: number of nodes whose load is reported.
        """
        self._folder = run_folder
        self._journal = journal
        self._attempt = attempt
        self._describe = describe
        self._say = say
        self._said: set[str] = set()
        self._patience = Patience(say, remark=_REMARK)
        self._outcome: Outcome = RUNNING
        self._over = threading.Event()
        self._uploaded = False
        self._upload: Upload | None = None
        self._stop_button = StopButton(run_folder, stop)
        self._other_nodes = OtherNodes(run_folder) if num_nodes > 1 else None
        self._interval_s = _seconds("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", INTERVAL_S)
        self._thread = threading.Thread(target=self._run, name="W&B", daemon=True)

    def start(self) -> None:
        """Start reporting."""
        self._thread.start()

    def finish(self, outcome: Outcome, limit_s: float = FINISH_S) -> bool:
        """Send the rest, and how the run ended.

        Args:
            outcome: how it ended.
            limit_s: longest wait, unless the user has set another.

        Returns:
            Whether the server has everything.
        """
        if self._patience.problem and not self._patience.responded:
            limit_s = min(limit_s, UNREACHED_S)
        limit_s = _seconds("WANDB_FINISH_TIMEOUT", limit_s)
        self._outcome = outcome
        self._over.set()
        self._patience.hurry(limit_s)
        self._thread.join(limit_s)
        return self._uploaded

    def _run(self) -> None:
        while True:
            over = self._over.is_set()
            wait_s = self._interval_s
            try:
                self._pass(over)
            except WandbError as error:
                self._upload = None  # the next one asks the server what it has
                if not isinstance(error, Unavailable):  # which was reported when it began
                    self._say_once(f"W&B: {error}.{_REMARK}")
                wait_s = REFUSED_INTERVAL_S if isinstance(error, (Refused, NoCredentials)) else wait_s
            except Exception as error:  # a full disk, or a defect of ours: never the training's problem
                self._upload = None
                message = " ".join(str(error).split())
                self._say_once(f"W&B: rows could not be sent ({type(error).__name__}: {message}); trying again.")
            if over:
                return
            self._wait(wait_s)

    def _wait(self, wait_s: float) -> None:
        """Wait for the next pass; ask for the Stop button meanwhile, where the server responds."""
        until = time.monotonic() + wait_s
        while not self._over.is_set() and (left_s := until - time.monotonic()) > 0:
            if self._upload is None or self._upload.place is None:
                self._over.wait(left_s)
            elif self._stop_button.wait_s:
                self._over.wait(min(left_s, self._stop_button.wait_s))
            else:
                self._stop_button.ask(self._account, self._upload.place)

    def _pass(self, over: bool) -> None:
        """Send what there is; at the end, until the server has everything."""
        wait_s = max(0.0, self._patience.deadline - time.monotonic()) if over else 0.0
        with upload_lock(self._folder, wait_s) as acquired:
            if not acquired:  # `hpc-dl sync` is uploading this run
                return
            record = WandbRecord.of(self._folder)
            if self._upload is None or not self._upload.is_current(record):
                self._upload = self._open(record)
            description = self._describe() if over else self._description
            outcome = self._outcome if over else RUNNING
            try:
                proof = self._upload.send(description, self._rows.take(), outcome, self._measurements())
            finally:
                if self._upload.connected:
                    self._say_once(f"W&B: {self._upload.record.url}")
        if self._server.stopped and not over:
            self._stop_button.pressed(record.id)
        if proof.problem:
            raise WandbError(proof.problem)
        if proof.missing:
            self._say_once(f"W&B: {proof.missing}")
        self._uploaded = over and not proof.missing

    def _open(self, record: WandbRecord) -> Upload:
        self._account = account()
        self._server = WandbServer(self._account, self._patience)
        self._rows = GrowingRows(self._folder, self._journal, self._attempt)
        self._description = self._describe()
        self._metrics = SystemMetrics(self._folder, self._description.started)
        self._measured = 0.0
        return Upload(self._folder, record, self._server)

    def _measurements(self) -> list[dict[str, Any]]:
        if time.monotonic() - self._measured < system_metrics.INTERVAL_S:
            return []
        self._measured = time.monotonic()
        others = self._other_nodes.take(self._description.started) if self._other_nodes else []
        return [self._metrics.measure(), *others]

    def _say_once(self, message: str) -> None:
        if message not in self._said:
            self._said.add(message)
            self._say(message)


def _seconds(variable: str, default: float) -> float:
    """The duration that a user has set; the default where it is not a number."""
    try:
        value = float(os.environ[variable])
    except (KeyError, ValueError):
        return default
    return min(value, _LONGEST_S) if value >= 0 else default  # NaN is not
