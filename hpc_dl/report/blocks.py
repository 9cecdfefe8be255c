"""What the sections of a report consist of, whether it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Answers:
    """Short answers to what a reader asks first.

    Attributes:
        items: question, answer, and a sentence below it (may be empty).
    """

    kind: ClassVar = "answers"
    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Table:
    """A table; with many rows the page sorts and filters it.

    Attributes:
        columns: the headings.
        rows: cells: numbers, texts or ``None``.
        caption: what it shows; empty where the heading of the section says so.
        best: the number of the row to highlight.
        folded: whether the page shows it on request only.
    """

    kind: ClassVar = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    best: int | None = None
    folded: bool = False


@dataclass(frozen=True)
class Plot:
    """An interactive plot, with its description and its numbers for those who cannot see it.

    Attributes:
        form: ``lines``, ``parallel`` or ``slice``: how page/report.js draws it.
        title: above the plot.
        description: what it shows, in a sentence.
        data: plain data, as page/report.js expects it.
        table: the numbers.
    """

    kind: ClassVar = "plot"
    form: str
    title: str
    description: str
    data: Mapping[str, Any]
    table: Table


@dataclass(frozen=True)
class Picture:
    """A picture.

    Attributes:
        caption: what it shows.
        png: the content of the file.
        folded: whether the page shows it on request only.
    """

    kind: ClassVar = "picture"
    caption: str
    png: bytes
    folded: bool = False


@dataclass(frozen=True)
class Code:
    """Commands or YAML, to copy."""

    kind: ClassVar = "code"
    text: str


Block = Text | Answers | Table | Plot | Picture | Code


@dataclass(frozen=True)
class Section:
    """A part of the report.

    Attributes:
        name: identifies it, in links.
        title: its heading.
        blocks: its content.
    """

    name: str
    title: str
    blocks: Sequence[Block] = field(default_factory=list)
