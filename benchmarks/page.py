"""The results of the benchmarks: a JSON file for each, and a section of the Benchmarks page.

``python -m benchmarks.page`` writes the page again from the JSON files, without measuring.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "docs" / "reference" / "benchmarks.md"
_HEAD = "# Benchmarks\n\n*Written by `make bench`.*\n"

#: Name of the JSON file → title of the section, module with its `section(results)`.
SECTIONS = {
    "startup": ("Start-up", "benchmarks.startup"),
    "preemption": ("Preemption", "benchmarks.preemption.report"),
    "step": ("Step", "benchmarks.step.report"),
    "reading": ("Reading", "benchmarks.reading.report"),
    "growth": ("Growth", "benchmarks.growth"),
    "shuffling": ("Shuffling by blocks", "benchmarks.shuffling"),
    "end_to_end": ("End to end", "benchmarks.end_to_end"),
    "many_runs": ("Many runs", "benchmarks.many_runs"),
    "adaptive_sweeps": ("Adaptive sweeps", "benchmarks.adaptive_sweeps"),
    "gpu": ("GPU", "benchmarks.gpu.report"),
}


def parse(parser: argparse.ArgumentParser, quick: str) -> argparse.Namespace:
    """Parse the command line, with the options that benchmarks share.

    Args:
        parser: has the benchmark's own options.
        quick: what ``--quick`` measures.
    """
    parser.add_argument("--quick", action="store_true", help=f"{quick}: a test of the benchmark, not of hpc_dl")
    parser.add_argument("--json", type=Path, help="write the results to this file only")
    options = parser.parse_args()
    if options.quick and options.json is None:
        parser.error("--quick needs --json FILE: its figures are not for the page")
    return options


def results_file(name: str) -> Path:
    """The JSON file of a benchmark's results."""
    return FOLDER / f"{name}.json"


def publish(name: str, results: dict[str, Any], json_file: Path | None = None) -> None:
    """Write and print the results of a benchmark.

    Args:
        name: of the benchmark, a key of ``SECTIONS``.
        results: the figures.
        json_file: receives them instead of the benchmark's own file and the page.
    """
    (json_file or results_file(name)).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    title, module = SECTIONS[name]
    # As read from the file, so that the page does not depend on whether the figures are new.
    lines = importlib.import_module(module).section(json.loads(json.dumps(results)))
    if json_file is None:
        write_section(title, lines)
    print("\n".join(lines))


def write_section(title: str, lines: Sequence[str]) -> None:
    """Replace the section of this title, or append it."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else _HEAD
    head, *sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    new = "\n".join([f"## {title}", "", *lines]).strip() + "\n"
    sections = [section.strip() + "\n" for section in sections]
    positions = [i for i, section in enumerate(sections) if section.startswith(f"## {title}\n")]
    if positions:
        sections[positions[0]] = new
    else:
        sections.append(new)
    PAGE.write_text("\n".join([head.strip() + "\n", *sections]), encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> list[str]:
    """Return a Markdown table, whose columns after the first ``texts`` are aligned to the right."""
    rule = [*["---"] * texts, *["---:"] * (len(head) - texts)]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)]


def paragraph(text: str) -> list[str]:
    """Return the lines of a paragraph, at most 100 columns wide."""
    return textwrap.wrap(text, 100, break_long_words=False, break_on_hyphens=False)


def machine(*packages: str) -> dict[str, str]:
    """Return what figures depend on: processor, system, versions, and the load at the start."""
    names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    cores = f"{len(names)} cores of {names[0].strip()}" if names else "unknown processor"
    return {
        "processor": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def describe(facts: dict[str, str]) -> str:
    """Return one sentence about the machine."""
    versions = [f"{name} {value}" for name, value in facts.items() if name not in ("processor", "system", "load")]
    return f"{facts['processor']}, {facts['system']}, {', '.join(versions)}; load average {facts['load']} at the start."


def main() -> None:
    """Write the section of every benchmark whose results exist."""
    for name, (title, module) in SECTIONS.items():
        if results_file(name).exists():
            results = json.loads(results_file(name).read_text(encoding="utf-8"))
            write_section(title, importlib.import_module(module).section(results))


if __name__ == "__main__":
    main()
