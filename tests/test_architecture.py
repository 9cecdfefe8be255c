"""The house's rules: imports go downwards, rooms have names of their own, files stay readable."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import hpc_dl

PACKAGE = Path(hpc_dl.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
# From the ground up; a room imports from itself and from what stands before it.
PACKAGES = (
    "atomic_files", "errors", "formatting", "compatibility", "shipped", "schema", "nn", "data", "learning",
    "models", "tracking", "config", "runs", "baselines", "training", "inference", "cluster", "cli",
)  # fmt: skip
# The same inside hpc_dl.data.
DATA = (
    "spec", "config", "ragged", "storage", "order", "files", "packing", "read_speed", "sources", "preprocessed_spec", "open_spec",
    "preprocessing", "batches", "datamodule",
)  # fmt: skip


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Every ``hpc_dl.…`` that a file imports, wherever in the file, with the line."""
    package = path.relative_to(root.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from hpc_dl import models` imports a room just as `import hpc_dl.models` does.
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name == "hpc_dl" or name.startswith("hpc_dl."))


def upward_imports(root: Path, order: Sequence[str] = PACKAGES, inside: str = "") -> list[str]:
    """Imports, between the modules of one package, of a module that comes later in ``order``."""
    folder = root / inside
    prefix = ".".join(folder.relative_to(root.parent).parts) + "."
    upward = []
    for path in sorted(folder.rglob("*.py")):
        own = path.relative_to(folder).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        for line, name in imported_modules(path, root):
            module = name.removeprefix(prefix).split(".")[0] if name.startswith(prefix) else ""
            if module in order and order.index(module) > order.index(own):
                upward.append(f"{path.relative_to(root)}:{line} imports {name}")
    return upward


def modules_of(folder: Path) -> set[str]:
    names = {path.name.removesuffix(".py") for path in folder.iterdir()}
    return names - {"__init__", "__pycache__", "py.typed", "project_template", "shipped_files"}


def test_every_room_is_in_the_list() -> None:
    assert modules_of(PACKAGE) == set(PACKAGES)
    assert modules_of(PACKAGE / "data") == set(DATA)


def test_imports_go_downwards_only() -> None:
    assert upward_imports(PACKAGE) == []
    assert upward_imports(PACKAGE, DATA, "data") == []


def test_an_upward_import_would_be_found(tmp_path: Path) -> None:
    root = tmp_path / "hpc_dl"
    (root / "data").mkdir(parents=True)
    (root / "cli").mkdir()
    (root / "cli" / "main.py").write_text(
        "from hpc_dl.data import spec\nimport hpc_dl.errors\nfrom hpc_dl import runs\n"
    )
    (root / "data" / "a.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from hpc_dl.errors import Fault\n"
        "if TYPE_CHECKING:\n    from hpc_dl.models.base import ModelConfig\n"
        "def f():\n    from hpc_dl import cli\n    import hpc_dl.runs.folder\n    from ..training import train\n"
    )
    assert upward_imports(root) == [
        "data/a.py:4 imports hpc_dl.models.base.ModelConfig",
        "data/a.py:6 imports hpc_dl.cli",
        "data/a.py:7 imports hpc_dl.runs.folder",
        "data/a.py:8 imports hpc_dl.training.train",
    ]
    (root / "data" / "spec.py").write_text("from hpc_dl.data.storage import rows\nfrom hpc_dl.errors import Fault\n")
    assert upward_imports(root, ("spec", "storage", "a"), "data") == [
        "data/spec.py:1 imports hpc_dl.data.storage.rows",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_one_room_of_readable_size(path: Path) -> None:
    assert path.stem not in {"utils", "util", "common", "core", "helpers", "helper", "misc"}
    assert path.parent.name not in {"utils", "common", "core", "helpers"}
    source = path.read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 400
    if path != PACKAGE / "__init__.py" or source.strip():
        assert ast.get_docstring(ast.parse(source)), "the file does not say what it is for"
