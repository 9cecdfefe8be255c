"""The list of private names and tested versions agrees with the code and with pyproject.toml."""

import ast
import tomllib
from pathlib import Path

import pytest

import hpc_dl
from hpc_dl.compatibility.checks import check_names, missing_for_plain_step, requirement
from hpc_dl.compatibility.private_names import PRIVATE_NAMES, TESTED
from tests.conftest import PROJECT

PACKAGE = Path(hpc_dl.__file__).parent
#: Private in spelling only: documented names of Python, and the column of time in a row of W&B.
DOCUMENTED = {"_asdict", "_replace", "_exit", "_current_frames", "_fields_", "_timestamp"}


class PrivateNameFinder(ast.NodeVisitor):
    """Collects the private names that code uses, and those that it defines."""

    def __init__(self) -> None:
        self.used: set[str] = set()
        self.defined: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.defined.add(node.name)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.defined.add(node.name)
        self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.defined.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = node.value.id if isinstance(node.value, ast.Name) else ""
        (self.defined if isinstance(node.ctx, ast.Store) and owner in ("self", "cls") else self.used).add(node.attr)
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if not (node.module or "").startswith("hpc_dl"):
            self.used.update(alias.name for alias in node.names)


def private_names(root: Path) -> set[str]:
    """The private names of other packages that a folder of code uses."""
    finder = PrivateNameFinder()
    for path in root.rglob("*.py"):
        finder.visit(ast.parse(path.read_text(encoding="utf-8")))
    private = {name for name in finder.used if name.startswith("_") and not name.startswith("__")}
    return private - finder.defined - DOCUMENTED


def texts_of_lightning() -> set[str]:
    """Private names that are accessed by their text, with getattr and setattr."""
    texts = set()
    for path in (PACKAGE / "training" / "lightning").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                texts.add(node.value)
    return {text for text in texts if text.startswith("_") and not text.startswith("__")}


def listed_names() -> set[str]:
    """Every component of every name in the list."""
    names = [name for entry in PRIVATE_NAMES for name in entry.names]
    return {part for name in names for part in name.replace(":", ".").split(".")}


@pytest.mark.slow
def test_every_private_name_in_the_code_is_listed() -> None:
    used = private_names(PACKAGE) | texts_of_lightning()
    assert len(used) > 40
    assert used - listed_names() == set()


def test_unlisted_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("from torch import _C\nself._own = trainer._unlisted\nprint(self._own)\n")
    assert private_names(tmp_path) == {"_C", "_unlisted"}


@pytest.mark.parametrize("package", TESTED)
def test_every_listed_name_exists(package: str) -> None:
    check_names(package)
    assert missing_for_plain_step() == ""


def test_every_entry_has_a_tested_package_and_a_reason() -> None:
    assert {entry.package for entry in PRIVATE_NAMES} == set(TESTED)
    assert all(entry.reason and entry.names for entry in PRIVATE_NAMES)


def test_tested_versions_are_those_of_pyproject() -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    dependencies = [line.partition(";")[0].replace(" ", "") for line in project["dependencies"]]
    assert [requirement(package) for package in TESTED if requirement(package) not in dependencies] == []
