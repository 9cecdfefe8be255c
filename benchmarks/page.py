"""The page of results, docs/benchmarks.md: each benchmark writes its own section."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
_HEAD = "# Benchmarks\n\n*Made by `make bench`.*\n"


def write_section(title: str, lines: Sequence[str]) -> None:
    """Replace the section of this title, or append it."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else _HEAD
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    new = "\n".join([f"## {title}", "", *lines]).strip() + "\n"
    kept = [section.strip() + "\n" for section in sections]
    places = [i for i, section in enumerate(kept) if section.startswith(f"## {title}\n")]
    if places:
        kept[places[0]] = new
    else:
        kept.append(new)
    PAGE.write_text("\n".join([head.strip() + "\n", *kept]), encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table; numbers, in all columns but the first, to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def machine(*packages: str) -> dict[str, str]:
    """What the numbers depend on: processor, system, versions, and how busy the machine was."""
    names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    cores = f"{len(names)} cores of {names[0].strip()}" if names else "unknown processor"
    return {
        "processor": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def told(facts: dict[str, str]) -> str:
    """The same in one sentence."""
    versions = [f"{name} {value}" for name, value in facts.items() if name not in ("processor", "system", "load")]
    return f"{facts['processor']}, {facts['system']}, {', '.join(versions)}; load average {facts['load']} at the start."
