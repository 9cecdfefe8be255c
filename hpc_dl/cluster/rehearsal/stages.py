"""Waiting for the stages of a rehearsal, one after another, with a timeout and status messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hpc_dl.cluster import status
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import ENDED

_POLL_FILES_S, _POLL_SLURM_S = 0.3, 5.0


class StageFailed(Exception):
    """A stage of the rehearsal was not reached; the message says which one, and what to do."""


class Stages:
    """Waits for one stage after another."""

    def __init__(self, say: Callable[[str], None], timeout_s: float) -> None:
        """Start without any stage.

        Args:
            say: prints one line for the user.
            timeout_s: the longest time to wait for one stage.
        """
        self.say = say
        self._timeout_s = timeout_s

    def wait_for(
        self,
        run: RunFolder,
        stage: str,
        condition: Callable[[RunFolder], Any],
        remedy: Callable[[RunFolder], str] = lambda run: "",
    ) -> Any:
        """Wait until the condition returns something true, and return it.

        Args:
            run: the run.
            stage: the name of the stage, for the messages.
            condition: reads only the run's own files, because it is called often.
            remedy: what to do if the run has ended instead.

        Raises:
            StageFailed: the run has ended, or the timeout is over.
        """
        self.say(f"Waiting for {stage} …")
        started = time.monotonic()
        next_query, reported, ended = started + _POLL_SLURM_S, ("", ""), False
        while not (result := condition(run)):
            now = time.monotonic()
            if now >= next_query:
                next_query = now + _POLL_SLURM_S
                facts = status.status(run)
                state, reason = facts["state"], facts.get("reason", "")
                if state in ENDED and reason != status.NO_RESPONSE:
                    # Only the second time: on a shared file system the last state that the run
                    # recorded may arrive seconds after Slurm's.
                    if ended:
                        raise StageFailed(" ".join(f"{stage}: the run {state}: {reason}. {remedy(run)}".split()))
                    ended = True
                    continue
                ended = False
                if (state, reason) != reported:
                    reported = (state, reason)
                    self.say(f"  [{state}] {reason}".rstrip())
            if now - started > self._timeout_s:
                raise StageFailed(
                    f"{stage}: not reached within {self._timeout_s / 60:g} min ({reported[0]} {reported[1]}). "
                    "Wait longer with --timeout"
                )
            time.sleep(_POLL_FILES_S)
        return result
