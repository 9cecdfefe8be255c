"""The examples on the page of topics print what the page says."""

import contextlib
import io
import re

import pytest

from tests.conftest import PROJECT

TOPICS = (PROJECT / "docs" / "topics.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", TOPICS, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("code", "expected"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_prints_what_the_page_says(code: str, expected: str) -> None:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/topics.md", "exec"), {})
    assert printed.getvalue() == expected


def test_right_numbers_of_the_table_are_those_computed() -> None:
    (_, expected), *_ = EXAMPLES
    rows = re.findall(r"^\| (?!quantity|---)[^|]+\| ([\d.]+) \| ([\d.]+) \|", TOPICS, re.MULTILINE)
    assert rows == [("0.04", "0.06036"), ("0.31", "0.29"), ("0.699", "0.690")]
    assert "= 0.06036\n" in expected and "one step: [0.28964, 0.3392]" in expected and "[0.31, 0.69]" in expected
