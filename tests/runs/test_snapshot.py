"""The copy of the code in the run folder."""

import subprocess
import sys
from pathlib import Path

import pytest

import hpc_dl
from hpc_dl.runs import snapshot
from hpc_dl.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "a")


@pytest.fixture
def importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on Python's path."""
    folder = tmp_path / "importable"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_package_is_copied_completely(run: RunFolder) -> None:
    snapshot.take(run)
    source = Path(hpc_dl.__file__).parent
    expected = {
        path.relative_to(source)
        for path in source.rglob("*")
        if path.is_file() and not {"__pycache__", "project_template"} & set(path.parts)
    }
    copied = {path.relative_to(run.code / "hpc_dl") for path in (run.code / "hpc_dl").rglob("*") if path.is_file()}
    assert copied == expected
    assert [path.name for path in run.code.iterdir()] == ["hpc_dl"]


def test_jobs_import_the_snapshot(run: RunFolder, tmp_path: Path) -> None:
    snapshot.take(run)
    code = "import hpc_dl.errors; print(hpc_dl.errors.__file__)"
    imported_file = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(run.code), "PYTHONSAFEPATH": "1"}, cwd=tmp_path,
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert imported_file.strip() == str(run.code / "hpc_dl" / "errors.py")


def test_later_edits_do_not_change_the_snapshot(run: RunFolder, importable: Path) -> None:
    package = importable / "mynets"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "deep" / "net.py").write_text("before")
    (package / "weights.ckpt").write_text("large")
    (package / "data.h5").write_text("large")
    snapshot.take(run, "mynets.deep.net")
    (package / "deep" / "net.py").write_text("after")
    copy = run.code / "mynets"
    assert (copy / "deep" / "net.py").read_text() == "before"
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {"__init__.py", "deep/net.py"}


def test_namespace_packages_and_single_files_are_copied(run: RunFolder, importable: Path) -> None:
    (importable / "namespaced").mkdir()
    (importable / "namespaced" / "net.py").write_text("x")
    (importable / "single_file_net.py").write_text("y")
    snapshot.take(run, "namespaced.net")
    snapshot.take(run, "single_file_net")
    assert (run.code / "namespaced" / "net.py").read_text() == "x"
    assert (run.code / "single_file_net.py").read_text() == "y"


@pytest.mark.parametrize("module", ["torchmetrics.classification", "json", "unittest.mock", "hpc_dl.models.mlp"])
def test_installed_modules_are_not_copied(run: RunFolder, module: str) -> None:
    snapshot.take(run, module)
    assert [path.name for path in run.code.iterdir()] == ["hpc_dl"]
