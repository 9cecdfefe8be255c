"""The copy of the code in the run folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import hpc_dl
from hpc_dl.errors import RunError
from hpc_dl.runs import snapshot
from hpc_dl.runs.folder import CODE_STORE, RunFolder


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


@pytest.mark.slow
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
    snapshot.take(run, "namespaced.net", "single_file_net")
    assert (run.code / "namespaced" / "net.py").read_text() == "x"
    assert (run.code / "single_file_net.py").read_text() == "y"


@pytest.mark.parametrize("module", ["torchmetrics.classification", "json", "unittest.mock", "hpc_dl.models.mlp"])
def test_installed_modules_are_not_copied(run: RunFolder, module: str) -> None:
    snapshot.take(run, module)
    assert [path.name for path in run.code.iterdir()] == ["hpc_dl"]


def test_runs_with_the_same_code_share_one_snapshot(run: RunFolder, importable: Path) -> None:
    (importable / "shared_net.py").write_text("x = 1\n")
    other = RunFolder.create(run.path.parent, "b")
    for folder in (run, other):
        snapshot.take(folder, "shared_net.Net")
    assert run.code.resolve() == other.code.resolve()
    assert len([path for path in run.path.rglob("*") if path.is_file()]) == 1, "only the layout"
    (importable / "shared_net.py").write_text("x = 2\n")
    third = RunFolder.create(run.path.parent, "c")
    snapshot.take(third, "shared_net.Net")
    assert third.code.resolve() != run.code.resolve()
    assert len(list((run.path.parent / CODE_STORE).iterdir())) == 2


def test_edited_snapshot_is_reported_and_not_given_to_others(run: RunFolder) -> None:
    snapshot.take(run)
    snapshot.check(run)
    (run.code / "hpc_dl" / "errors.py").write_text("edited")
    with pytest.raises(RunError, match="was changed after it was taken"):
        snapshot.check(run)
    other = RunFolder.create(run.path.parent, "b")
    snapshot.take(other)
    snapshot.check(other)
    assert other.code.resolve().name == f"{run.code.resolve().name}-2"


def test_compiled_files_are_no_change(run: RunFolder) -> None:
    snapshot.take(run)
    (run.code / "hpc_dl" / "__pycache__").mkdir()
    (run.code / "hpc_dl" / "__pycache__" / "errors.pyc").write_bytes(b"compiled")
    snapshot.check(run)


def test_missing_snapshot_is_reported(run: RunFolder, tmp_path: Path) -> None:
    snapshot.take(run)
    moved = RunFolder(tmp_path / "elsewhere" / run.name)
    shutil.copytree(run.path, moved.path, symlinks=True)
    with pytest.raises(RunError, match=r"snapshot of the code is missing.*--update-code"):
        snapshot.check(moved)


def test_all_runs_can_move_together(run: RunFolder) -> None:
    snapshot.take(run)
    moved = run.path.parent.rename(run.path.parent.with_name("moved"))
    snapshot.check(RunFolder(moved / run.name))


def test_snapshot_is_removed_with_its_last_run(run: RunFolder, importable: Path) -> None:
    (importable / "own_net.py").write_text("x = 1\n")
    other = RunFolder.create(run.path.parent, "b")
    snapshot.take(run, "own_net.Net")
    snapshot.take(other)
    recent = RunFolder.create(run.path.parent, "c")
    for entry in (run.path.parent / CODE_STORE).iterdir():
        os.utime(entry, (0, 0))
    (importable / "own_net.py").write_text("x = 2\n")
    snapshot.take(recent, "own_net.Net")
    assert snapshot.remove_unused(run.path.parent, [other]) == [run.code.resolve()]
    snapshot.check(other)
    snapshot.check(recent)


def test_links_in_a_circle_are_followed_once(run: RunFolder, importable: Path) -> None:
    (importable / "circular").mkdir()
    (importable / "circular" / "net.py").write_text("x = 1\n")
    (importable / "circular" / "again").symlink_to(importable / "circular")
    snapshot.take(run, "circular.net.Net")
    assert [path.name for path in (run.code / "circular").rglob("*")] == ["net.py"]


def test_imports_of_own_modules_are_copied_as_well(run: RunFolder, importable: Path) -> None:
    (importable / "own_layers").mkdir()
    (importable / "own_layers" / "__init__.py").write_text("from . import inner\nimport own_net, torch, os\n")
    (importable / "own_layers" / "inner.py").write_text("def late():\n    import own_data.files\n")
    (importable / "own_data").mkdir()
    (importable / "own_data" / "files.py").write_text("import missing_package\n")
    (importable / "own_net.py").write_text("from own_layers.inner import late\nimport broken_net\n")
    (importable / "broken_net.py").write_text("this is no Python\n")
    (importable / "unused.py").write_text("")
    snapshot.take(run, "own_net.Net")
    copied = {path.relative_to(run.code).as_posix() for path in run.code.rglob("own*/*.py")}
    assert copied == {"own_layers/__init__.py", "own_layers/inner.py", "own_data/files.py"}
    assert {path.name for path in run.code.iterdir()} == {
        "hpc_dl", "own_layers", "own_data", "own_net.py", "broken_net.py"
    }  # fmt: skip
    before = snapshot.own_code_digest("own_net.Net")
    (importable / "own_data" / "files.py").write_text("changed = True\n")
    assert snapshot.own_code_digest("own_net.Net") != before == snapshot.own_code_in(run.code.resolve())


def test_packages_of_other_environments_are_not_copied(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "environment" / "lib" / "python3" / "site-packages"
    (other / "large_library").mkdir(parents=True)
    (other / "large_library" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(other))
    snapshot.take(run, "large_library.Net")
    assert [path.name for path in run.code.iterdir()] == ["hpc_dl"]
