"""A report as one HTML file that needs no network and executes nothing but its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

import hpc_dl
from hpc_dl.errors import printable
from hpc_dl.formatting import text_of
from hpc_dl.report.blocks import Picture, Plot, Section, Text

MOST_BYTES = 3_000_000
"""The largest page with pictures."""
_PAGE = Path(__file__).with_name("page")
_LONG = 60  # characters of a cell, from which on it is broken
_FILTER_FROM = 8  # rows, from which on a table can be filtered


def html_of(title: str, sections: Sequence[Section], *, refresh_s: int = 0) -> str:
    """Return the page, without pictures if it would be too large with them.

    Args:
        title: of the page.
        sections: its content. Texts in it may be hostile: they are escaped.
        refresh_s: after how many seconds a browser loads the page again; 0 for never.
    """
    page = _rendered(title, sections, refresh_s)
    if len(page.encode()) <= MOST_BYTES:
        return page
    left_out = Text("There are no pictures: with them, the page would be larger than 3 MB.")
    without = [
        replace(section, blocks=[*(b for b in section.blocks if not isinstance(b, Picture)), left_out])
        if any(isinstance(block, Picture) for block in section.blocks)
        else section
        for section in sections
    ]
    return _rendered(title, without, refresh_s)


def _rendered(title: str, sections: Sequence[Section], refresh_s: int) -> str:
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, finalize=_printable,
    )  # fmt: skip
    environment.filters |= {
        "cell": _cell,
        "number": _number,
        "long": _long,
        "code": _code_spans,
        "base64": _base64,
    }
    scripts = [_source("echarts.min.js")] if any(isinstance(b, Plot) for s in sections for b in s.blocks) else []
    scripts.append(_source("report.js"))
    style = _source("style.css")
    return environment.get_template("page.html").render(
        title=title,
        sections=sections,
        style=style,
        scripts=scripts,
        policy=_policy(scripts, style),
        data=_json,
        filter_from=_FILTER_FROM,
        refresh_s=refresh_s,
        version=hpc_dl.__version__,
        written=time.strftime("%Y-%m-%d %H:%M %Z"),
    )


def _policy(scripts: Sequence[str], style: str) -> str:
    """The Content-Security-Policy: these scripts, this style, embedded pictures, nothing else."""
    allowed = " ".join(map(_hash, scripts))
    sources = f"script-src {allowed}; style-src {_hash(style)}; img-src data:"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _source(name: str) -> Markup:
    """A file of the page; it is our own, so it is not escaped."""
    return Markup((_PAGE / name).read_text(encoding="utf-8").strip())


def _json(data: Any) -> Markup:
    """Plain data inside of a script element: no text in it can end that element."""
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.7g}") if math.isfinite(value) else None
    return printable(value) if isinstance(value, str) else value


def _printable(value: Any) -> Any:
    """Text without control characters, and without lone surrogates, which UTF-8 cannot express."""
    return value if isinstance(value, Markup) else printable(value) if isinstance(value, str) else value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _code_spans(text: str) -> Markup:
    """Escape a sentence, and mark what is in backticks as code."""
    parts = printable(text).split("`")
    if len(parts) % 2 == 0:  # one of the backticks belongs to something else
        return escape(printable(text))
    marked = [
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    ]
    return Markup("").join(marked)


def _cell(value: Any) -> str:
    return f"{value:,}" if type(value) is int else text_of(value)


def _long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _LONG


def _number(value: Any) -> bool:
    return type(value) in (int, float)
