"""docs/configuration.md is generated from the code and must be up to date."""

import re
import runpy

from tests.conftest import PROJECT


def test_reference_is_up_to_date() -> None:
    module = runpy.run_path(str(PROJECT / "docs" / "reference.py"))
    assert module["PAGE"].read_text(encoding="utf-8") == module["page"](), "run `make docs`"


def test_links_between_documents_are_valid() -> None:
    pages = [PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")]
    broken = [
        f"{page.relative_to(PROJECT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken
