"""The guide to site profiles names every key of a profile."""

import re
from collections.abc import Iterator

import pytest

from hpc_dl.cluster.site import SiteProfile
from hpc_dl.schema import Section, sections_in
from tests.conftest import PROJECT

PAGE = (PROJECT / "docs" / "how-to" / "sites.md").read_text(encoding="utf-8")


def keys(section: type[Section]) -> Iterator[str]:
    """The keys of a section, followed by those of its subsections."""
    for name, field in section.model_fields.items():
        yield field.alias or name
        for nested in sections_in(field.annotation):
            yield from keys(nested)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", sorted(set(keys(SiteProfile))))
def test_guide_names_the_key(key: str) -> None:
    assert re.search(rf"`(\w+\.)?{key}(:[^`]*)?`", PAGE), f"docs/how-to/sites.md does not explain `{key}`"
