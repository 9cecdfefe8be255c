"""The architecture page: its diagrams name modules, classes and functions that exist."""

import ast
import re

import pytest

from tests.conftest import PROJECT
from tests.test_architecture import PACKAGES

PAGE = (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8")
DIAGRAMS = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
MODULE = re.compile(r"[a-z_0-9/]+\.py\b")
# After a module: `function()`, `Class` or `Class.method()`.
NAME_IN_MODULE = re.compile(r"([a-z_0-9/]+\.py) ([A-Z]\w+(?:\.\w+\(\))?|\w+\(\))")


def names_in(module: str) -> set[str]:
    """The functions, classes and methods (``Class.method``) that a module defines."""
    names = set()
    for node in ast.parse((PROJECT / "hpc_dl" / module).read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return names


@pytest.mark.parametrize("module", sorted({module for text in DIAGRAMS for module in MODULE.findall(text)}))
def test_module_of_a_diagram_exists(module: str) -> None:
    assert (PROJECT / "hpc_dl" / module).is_file()


@pytest.mark.parametrize(
    ("module", "name"), sorted({found for text in DIAGRAMS for found in NAME_IN_MODULE.findall(text)})
)
def test_name_of_a_diagram_exists(module: str, name: str) -> None:
    assert name.removesuffix("()") in names_in(module)


def test_every_diagram_names_functions() -> None:
    assert len(DIAGRAMS) == 3
    assert all(len(NAME_IN_MODULE.findall(text)) >= 8 for text in DIAGRAMS)


def test_table_lists_the_packages_in_order() -> None:
    table = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    listed = [name for cell in table for name in re.findall(r"`(\w+)`", cell)]
    assert listed == [name for name in PACKAGES if name in listed]
    assert set(listed) == set(PACKAGES)
