"""A report as Markdown, for a note or an issue: tables instead of plots, no pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from hpc_dl.errors import escape_control_characters, printable
from hpc_dl.formatting import text_of
from hpc_dl.report.blocks import Answers, Block, Code, Picture, Plot, Section, Table, Text

# What Markdown or the HTML in it would interpret; texts of runs may be hostile.
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|<>~&$@:])")
_MOST_ROWS = 200


def markdown_of(title: str, sections: Sequence[Section]) -> str:
    """Return the document.

    Args:
        title: of the document.
        sections: its content; texts in it are escaped.
    """
    lines = [f"# {_text(title)}"]
    for section in sections:
        lines += ["", f"## {_text(section.title)}"]
        for block in section.blocks:
            lines += ["", *_lines(block)]
    return "\n".join(lines) + "\n"


def _lines(block: Block) -> Iterator[str]:
    if isinstance(block, Text):
        yield _text(block.text)
    elif isinstance(block, Answers):
        for question, answer, detail in block.items:
            shown = _code(answer) if answer.startswith("hpc-dl ") else f"**{_text(answer)}**"
            yield f"- {_text(question)} {shown} {_text(detail)}".rstrip()
    elif isinstance(block, Code):
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", block.text)), default=0))
        yield from (fence, printable(block.text), fence)
    elif isinstance(block, Plot):
        yield f"### {_text(block.title)}"
        yield from ("", _text(block.description), "", *_table(block.table))
    elif isinstance(block, Picture):
        yield f"Picture: {_text(block.caption)} (in the HTML report)"
    else:
        yield from _table(block)


def _table(table: Table) -> Iterator[str]:
    if table.caption:
        yield from (f"**{_text(table.caption)}**", "")
    yield _row(table.columns)
    yield _row(["---"] * len(table.columns), escape=False)
    for number, row in enumerate(table.rows[:_MOST_ROWS]):
        first, *others = row
        yield _row(
            [f"{_text(text_of(first))} ★" if number == table.best else _text(text_of(first)), *map(_cell, others)],
            escape=False,
        )
    if len(table.rows) > _MOST_ROWS:
        yield from ("", f"{len(table.rows) - _MOST_ROWS} more rows are in the HTML report.")


def _row(cells: Sequence[Any], *, escape: bool = True) -> str:
    return f"| {' | '.join(map(_cell, cells) if escape else cells)} |"


def _cell(value: Any) -> str:
    return _text(text_of(value))


def _text(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", escape_control_characters(text.replace("\n", " ")))


def _code(text: str) -> str:
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    return (
        f"{ticks} {escape_control_characters(text)} {ticks}" if "`" in text else f"`{escape_control_characters(text)}`"
    )
