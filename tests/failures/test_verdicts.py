"""Each recorded or modeled failure, and what the rules say about it."""

from pathlib import Path

import pytest

from hpc_dl.failures.rules import all_rules
from tests.failures.case import Case, cases


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_no_wrong_verdict(case: Case, tmp_path: Path) -> None:
    verdict = case.verdict(tmp_path)
    expected = {"right", "unknown"} if case.facts.get("set") == "test" else {"right"}
    assert case.outcome(verdict) in expected, verdict


def test_every_rule_has_an_example() -> None:
    examples = {rule for case in cases() for rule in case.facts["rule"].split()} - {"unknown"}
    assert examples == set(all_rules())
