"""The harness itself, on a few cases of each kind; ``make fuzz`` runs thousands."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.fuzz.__main__ import CASES, checks
from tests.fuzz.workers import run_cases

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", CASES)
def test_cases_end_in_a_result_or_one_line(tmp_path: Path, kind: str) -> None:
    check = checks(tmp_path, [kind])[kind]
    outcomes = list(run_cases(range(16), lambda case: check(case, 1)))
    assert [outcome for outcome in outcomes if outcome.failed] == []
    assert len(outcomes) == 16


def test_harness_notices_what_goes_wrong() -> None:
    def check(case: int) -> tuple[str, str]:
        if case == 1:
            raise ValueError("a defect")
        if case == 2:
            os.kill(os.getpid(), signal.SIGSEGV)
        if case == 3:
            time.sleep(60)
        if case == 4:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # like a C function that never returns
            time.sleep(60)
        return "wrong" if case == 5 else "fine", ""

    kinds = {outcome.case: outcome.kind for outcome in run_cases(range(7), check, limit_s=0.3)}
    assert kinds == {0: "fine", 1: "traceback", 2: "crash", 3: "hang", 4: "hang", 5: "wrong", 6: "fine"}
