"""How an exchange with W&B's server can fail, and how long to keep trying."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from hpc_dl.errors import escape_control_characters

_MOST_CHARACTERS = 300


class WandbError(Exception):
    """W&B's server could not be used; the message is one line for people.

    It may have text of the server, which is shortened and printed without control characters.
    """

    def __init__(self, message: str) -> None:
        line = escape_control_characters(" ".join(message.split()))
        super().__init__(line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}…")


class Unavailable(WandbError):
    """The server did not respond, or said that it cannot now; a later attempt may succeed.

    Attributes:
        retry_after_s: how long the server asks to wait; ``None`` if it does not say.
    """

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(WandbError):
    """The server understood and refused, which another attempt will not change.

    Attributes:
        status: the HTTP status; 200 for an error that GraphQL reports in its response.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Patience:
    """When to try again, and what to say about it.

    A problem is reported when it begins, and once more when it is over.

    Attributes:
        deadline: when to give up, as ``time.monotonic()``; may be changed from another thread.
        problem: what fails at present; empty while all is well.
        responded: whether the server has ever responded, in whatever way.
    """

    FIRST_WAIT_S = 1.0
    LONGEST_WAIT_S = 30.0

    def __init__(self, say: Callable[[str], None], limit_s: float = math.inf, remark: str = "") -> None:
        """Store how to report, for how long to try, and what to add when a problem begins."""
        self.deadline = time.monotonic() + limit_s
        self.problem = ""
        self.responded = False
        self._say = say
        self._remark = remark
        self._hurried = threading.Event()

    def hurry(self, limit_s: float) -> None:
        """Try again at once, and for so many seconds; called from another thread."""
        self.deadline = time.monotonic() + limit_s
        self._hurried.set()

    def failed(self, problem: str, attempt: int, retry_after_s: float | None) -> None:
        """Wait before the next attempt.

        Args:
            problem: what failed.
            attempt: number of failures in a row, from 1.
            retry_after_s: how long the server asks to wait.

        Raises:
            Unavailable: the deadline would pass meanwhile.
        """
        if not self.problem:
            self._say(f"W&B: {problem}; trying again.{self._remark}")
        self.problem = problem
        until = time.monotonic() + self._wait_s(attempt, retry_after_s)
        training = not self._hurried.is_set()
        if training and self._hurried.wait(min(until - time.monotonic(), threading.TIMEOUT_MAX)):
            if retry_after_s is None:
                return  # the training has just ended: one more attempt at once
        elif training:
            return
        if until > self.deadline:
            raise Unavailable(problem)
        time.sleep(max(0.0, until - time.monotonic()))

    def succeeded(self) -> None:
        """Note that the server responds."""
        if self.problem:
            self.problem = ""
            self._say("W&B: the server responds again.")

    def _wait_s(self, attempt: int, retry_after_s: float | None) -> float:
        wait_s = min(self.FIRST_WAIT_S * 2 ** min(attempt - 1, 10), self.LONGEST_WAIT_S)
        return wait_s if retry_after_s is None else retry_after_s


class SharedPatience(Patience):
    """Shared by the threads of one command, so that they wait for an outage only once."""

    OUTAGE_S = 300.0
    UNREACHED_S = 15.0
    """The same where the server has never been reached, as on a node without a network."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """Store how to report."""
        super().__init__(say)
        self._since = 0.0
        self._lock = threading.Lock()

    def failed(self, problem: str, attempt: int, retry_after_s: float | None) -> None:
        """Wait before the next attempt.

        Raises:
            Unavailable: the server does not respond for too long.
        """
        wait_s = self._wait_s(attempt, retry_after_s)
        with self._lock:
            if not self.problem:
                self._since = time.monotonic()
            until = self._since + (self.OUTAGE_S if self.responded else self.UNREACHED_S)
            # One server may refuse the requests of one run only, while others succeed.
            lasting = wait_s * attempt > self.OUTAGE_S
            if lasting or time.monotonic() + wait_s > until:
                self.problem = problem
                asked = "" if retry_after_s is None else f" and asks to wait {retry_after_s:.0f} s"
                raise Unavailable(f"{problem}{asked}", retry_after_s)
            if not self.problem:
                self._say(f"W&B: {problem}; trying again.")
            self.problem = problem
        time.sleep(wait_s)

    def succeeded(self) -> None:
        """Note that the server responds."""
        with self._lock:
            super().succeeded()


class Once(Patience):
    """No second attempt, and no message: for a question that may remain without an answer."""

    def __init__(self) -> None:
        """Report nothing."""
        super().__init__(lambda message: None)

    def failed(self, problem: str, attempt: int, retry_after_s: float | None) -> None:
        """Give up.

        Raises:
            Unavailable: always.
        """
        raise Unavailable(problem, retry_after_s)
