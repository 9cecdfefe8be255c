"""docs/configuration.md is made from the code, and must not fall behind it."""

import runpy

from tests.conftest import PROJECT


def test_the_reference_is_up_to_date() -> None:
    made = runpy.run_path(str(PROJECT / "docs" / "reference.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"](), "run `make docs`"


def test_links_between_documents_lead_somewhere() -> None:
    import re

    pages = [PROJECT / "README.md", *PROJECT.glob("docs/**/*.md")]
    broken = [
        f"{page.relative_to(PROJECT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert not broken
