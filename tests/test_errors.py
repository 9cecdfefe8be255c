"""User-facing errors: one line for each fault, safe to print."""

import pytest

from hpc_dl.errors import ConfigError, Fault, escape_control_characters, nearest


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        (Fault("seed", "must be an integer"), "seed: must be an integer"),
        (Fault("seed", "is invalid", value=None), "seed: is invalid (got None)"),
        (Fault("a.b", "is invalid", value="x", allowed="y, z"), "a.b: is invalid (got 'x'; allowed: y, z)"),
        (Fault("a", "is invalid", remedy="use `b`"), "a: is invalid. Use `b`"),
        (Fault("a", "is\n  invalid", remedy="use\tb"), "a: is invalid. Use b"),
        (Fault("a", "is long", value="x" * 200), f"a: is long (got '{'x' * 118}…)"),
    ],
)
def test_fault_is_one_line(fault: Fault, line: str) -> None:
    assert str(fault) == line


@pytest.mark.parametrize("text", ["\x1b[31mred", "bell\a", "\x9b2J", "right\u202eto left", "zero\u200bwidth", "\udcff"])
def test_fault_has_no_control_characters(text: str) -> None:
    fault = Fault(text, text, value=text, allowed=text, remedy=f"use {text}")
    assert str(fault).isprintable()
    assert str(fault).startswith(escape_control_characters(text))


def test_escaped_text_keeps_letters_of_all_languages() -> None:
    assert escape_control_characters("größer — 字 100 %") == "größer — 字 100 %"
    assert escape_control_characters("a\x1b\nb") == "a\\x1b\\nb"
    assert escape_control_characters("\0" * (1 << 20)) == "\\x00" * (1 << 20)


def test_error_has_a_line_for_each_fault() -> None:
    error = ConfigError(Fault("a", "is wrong"), Fault("b", "is wrong", allowed="c"))
    assert str(error) == "a: is wrong\nb: is wrong (allowed: c)"
    assert error.exit_status == 2
    assert str(ConfigError.at("a", "is wrong", value=1)) == "a: is wrong (got 1)"


def test_nearest_name() -> None:
    assert nearest("adma", ["sgd", "adam"]) == "did you mean 'adam'?"
    assert nearest("xyz", ["sgd", "adam"]) == ""
