"""The structure of the code: imports go down one list, files stay short, names say something."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import hpc_dl
from tests.conftest import PROJECT

PACKAGE = Path(hpc_dl.__file__).parent
# From the ground up: a module imports only from its own package and from those before it.
PACKAGES = (
    "errors", "regular_files", "atomic_files", "formatting", "one_class_per_file", "compatibility", "shipped", "schema",
    "nn", "data", "learning", "models", "tracking", "config", "runs", "studies", "baselines",
    "figures", "training", "inference", "cluster", "failures", "sweeps", "chains", "report", "api", "cli",
)  # fmt: skip
# The same inside hpc_dl.data.
DATA = (
    "spec", "split_config", "config", "own_data_config", "ragged", "storage", "staging", "order", "files", "read_speed",
    "packing", "sources", "preprocessed_spec", "open_spec", "preprocessing", "batches", "own_loaders", "datamodule",
)  # fmt: skip
NOT_CODE = {"__init__", "__pycache__", "py.typed", "project_template"}
FOLDERS = ("hpc_dl", "benchmarks", "slurm", "tests", "docs", "containers")
FILES = [
    *(path for folder in FOLDERS for path in sorted((PROJECT / folder).rglob("*.py"))),
    PROJECT / "slurm/dev-cluster/cluster",
]
MAX_LINES = 300
VAGUE_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "misc"}


def imported_modules(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """The line and the name of every ``hpc_dl.…`` that a file imports, at any depth."""
    package = path.relative_to(root.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level]] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            # `from hpc_dl import models` imports a package just as `import hpc_dl.models` does.
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
        if own in NOT_CODE:
            continue
        for line, name in imported_modules(path, root):
            module = name.removeprefix(prefix).split(".")[0] if name.startswith(prefix) else ""
            if module in order and order.index(module) > order.index(own):
                upward.append(f"{path.relative_to(root)}:{line} imports {name}")
    return upward


def modules_of(folder: Path) -> set[str]:
    return {path.name.removesuffix(".py") for path in folder.iterdir()} - NOT_CODE


def test_every_module_is_in_the_list() -> None:
    assert modules_of(PACKAGE) == set(PACKAGES)
    assert modules_of(PACKAGE / "data") == set(DATA)


def test_imports_go_down_the_list() -> None:
    assert upward_imports(PACKAGE) == []
    assert upward_imports(PACKAGE, DATA, "data") == []


def test_upward_imports_are_found(tmp_path: Path) -> None:
    root = tmp_path / "hpc_dl"
    (root / "data").mkdir(parents=True)
    (root / "cli").mkdir()
    (root / "cli" / "main.py").write_text(
        "from hpc_dl.data import spec\nimport hpc_dl.errors\nfrom hpc_dl import runs\n"
    )
    (root / "data" / "spec.py").write_text(
        "from typing import TYPE_CHECKING\n"
        "from hpc_dl.errors import Fault\n"
        "if TYPE_CHECKING:\n    from hpc_dl.models.base import ModelConfig\n"
        "def f():\n    from hpc_dl import cli\n    import hpc_dl.runs.folder\n    from ..training import train\n"
        "    from hpc_dl.data.datamodule import x\n"
    )
    assert upward_imports(root) == [
        "data/spec.py:4 imports hpc_dl.models.base.ModelConfig",
        "data/spec.py:6 imports hpc_dl.cli",
        "data/spec.py:7 imports hpc_dl.runs.folder",
        "data/spec.py:8 imports hpc_dl.training.train",
    ]
    assert upward_imports(root, DATA, "data") == ["data/spec.py:9 imports hpc_dl.data.datamodule.x"]


def test_benchmarks_do_not_import_tests() -> None:
    sources = {path: path.read_text(encoding="utf-8") for path in (PROJECT / "benchmarks").rglob("*.py")}
    assert [str(path) for path, text in sources.items() if "from tests" in text or "import tests" in text] == []


def test_files_are_short_and_named_and_documented() -> None:
    assert [fault for path in FILES for fault in faults_of(path)] == []


def faults_of(path: Path) -> Iterator[str]:
    """What is wrong with one file, beginning with its path."""
    name = path.relative_to(PROJECT)
    source = path.read_text(encoding="utf-8")
    if (lines := len(source.splitlines())) > MAX_LINES:
        yield f"{name} has {lines} lines, more than {MAX_LINES}"
    if vague := VAGUE_NAMES & {path.stem, path.parent.name}:
        yield f"{name}: {', '.join(vague)} does not say what is inside"
    if path.is_relative_to(PACKAGE) and source.strip() and not ast.get_docstring(ast.parse(source)):
        yield f"{name} has no docstring that says what it contains"
