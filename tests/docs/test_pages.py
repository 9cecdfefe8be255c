"""The documentation: generated pages match the code, links work, and the site builds strictly."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl import models
from tests.conftest import PROJECT

PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])


@pytest.mark.slow
@pytest.mark.parametrize("generator", ["configuration_page.py", "commands_page.py"])
def test_generated_page_matches_the_code(generator: str) -> None:
    generated = runpy.run_path(str(PROJECT / "docs" / generator))
    assert generated["PAGE"].read_text(encoding="utf-8") == generated["page"](), "run `make docs`"


def test_links_lead_to_files() -> None:
    broken = [
        f"{page.relative_to(PROJECT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_prose_breaks_at_100_columns() -> None:
    too_long = []
    for page in PAGES:
        in_code = False
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            in_code ^= line.lstrip().startswith("```")
            is_prose = not in_code and not line.startswith(("|", "#", "![", "* `", "**"))
            if is_prose and len(line) > 100 and " " in line[:100].strip("-* "):
                too_long.append(f"{page.relative_to(PROJECT)}:{number}")
    assert too_long == []


@pytest.mark.slow
def test_site_builds_without_warnings(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "reference" / "python" / "index.html").is_file()


def test_readme_counts_the_architectures() -> None:
    found = re.search(r"\| \*\*Architectures\*\* \| (\d+), each", (PROJECT / "README.md").read_text(encoding="utf-8"))
    assert found and int(found[1]) == len(models.names())
