"""Snapshots of the code: edits made while a job is queued do not affect it.

``RUNS/.code/SHA256`` holds the code of all runs that were prepared with the same code, and ``code``
in each of these run folders is a link to it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import itertools
import os
import secrets
import shutil
import site
import sys
import sysconfig
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import hpc_dl
from hpc_dl.errors import RunError
from hpc_dl.runs.folder import CODE_STORE, RunFolder

_RECENT_S = 600.0
_IGNORED_FOLDERS = ("__pycache__", ".git", ".venv", "project_template", "shipped_files")
_IGNORED_SUFFIXES = (".pyc", ".h5", ".hdf5", ".ckpt")


def take(run: RunFolder, *import_paths: str) -> None:
    """Link ``RUN/code``, which jobs import from first, to a snapshot of the current code.

    Args:
        run: the run.
        import_paths: as in :func:`stored`.

    Raises:
        OSError: the snapshot cannot be written.
    """
    link(run, stored(run.path.parent, *import_paths))


def stored(runs: Path, *import_paths: str) -> Path:
    """Return a snapshot of this package and the user's own code, writing it if there is none yet.

    Args:
        runs: the folder of the runs.
        import_paths: import paths of the user's own classes. Their top-level packages or files are
            copied, and those that these import, unless they are installed (in site-packages), where
            edits are not expected.

    Raises:
        OSError: the snapshot cannot be written.
    """
    files = dict(_files_of_package(Path(hpc_dl.__file__).parent)) | dict(_own_files(import_paths))
    store = runs / CODE_STORE
    digest = _digest(files.items())
    for number in itertools.count(1):
        snapshot = store / (digest if number == 1 else f"{digest}-{number}")
        if not snapshot.exists():
            _write(snapshot, files)
        # Another user's snapshot could be changed by that user, and an edited one is not this code.
        if snapshot.stat().st_uid == os.geteuid() and _digest(_files_in(snapshot)) == digest:
            os.utime(snapshot)  # keeps it from being removed before the run links to it
            return snapshot
    raise AssertionError("unreachable")


def own_code_digest(*import_paths: str) -> str:
    """Return the digest of a user's own code, as :func:`stored` would copy it; "" if there is none.

    Args:
        import_paths: as in :func:`stored`.
    """
    files = list(_own_files(import_paths))
    return _digest(files) if files else ""


def own_code_in(snapshot: Path) -> str:
    """Return the digest of the user's own code in a snapshot, as :func:`own_code_digest`.

    Args:
        snapshot: as returned by :func:`stored`.
    """
    package = f"{Path(hpc_dl.__file__).parent.name}/"
    files = [(name, path) for name, path in _files_in(snapshot) if not name.startswith(package)]
    return _digest(files) if files else ""


def link(run: RunFolder, snapshot: Path) -> None:
    """Make ``RUN/code`` a link to a snapshot; relative, so that the folder of all runs can move."""
    run.code.symlink_to(os.path.relpath(snapshot, run.path))


def check(run: RunFolder) -> None:
    """Check that the code of a run is there, as it was when the run was prepared.

    Raises:
        RunError: it is missing or was changed.
    """
    remedy = "restore it, or continue with the current code by --update-code"
    if not run.code.is_dir():
        where = f"{os.readlink(run.code)} is" if run.code.is_symlink() else "it is"
        raise RunError.at(run.code, f"the snapshot of the code is missing: {where} not there", remedy=remedy)
    snapshot = run.code.resolve()
    if run.code.is_symlink() and _digest(_files_in(snapshot)) != snapshot.name.partition("-")[0]:
        raise RunError.at(snapshot, "the snapshot of the code was changed after it was taken", remedy=remedy)


def remove_unused(runs: Path, used: Iterable[RunFolder]) -> list[Path]:
    """Delete the snapshots of a folder that no run links to anymore.

    Snapshots of the last ten minutes stay: a run that is being prepared may be about to link to
    one.

    Those of other users are kept, too: one may not be allowed to see their runs.

    Args:
        runs: the folder of the runs.
        used: all runs in it.

    Returns:
        The deleted snapshots.
    """
    needed = {link.resolve() for run in used for link in run.path.glob("code*")}
    store = (runs / CODE_STORE).resolve()
    entries = list(store.iterdir()) if store.is_dir() else []
    recent = time.time() - _RECENT_S
    unused = [
        entry
        for entry in entries
        if entry not in needed and (facts := entry.stat()).st_mtime < recent and facts.st_uid == os.geteuid()
    ]
    for snapshot in unused:
        shutil.rmtree(snapshot)
    return unused


def origin_of(module: str) -> Path | None:
    """The folder of a module's top-level package, or the file of a top-level module."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):  # of a module that was imported in an unusual way
        return None
    if spec and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec and spec.origin else None


def _own_files(import_paths: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """Yield the files of the user's own modules, and of all that they import."""
    modules = [path.partition(".")[0] for path in import_paths]
    seen = {"hpc_dl", *sys.stdlib_module_names}  # hpc_dl is copied anyway
    while modules:
        module = modules.pop()
        if module in seen:
            continue
        seen.add(module)
        origin = origin_of(module)
        if origin is not None and origin.exists() and not _is_installed(origin):
            for name, path in _files_of_package(origin):
                yield name, path
                modules += _imported_by(path)


def _imported_by(file: Path) -> Iterator[str]:
    """Yield the top-level modules that the statements of a Python file import, anywhere in it."""
    if file.suffix != ".py":
        return
    with suppress(SyntaxError, ValueError):  # not a file that Python could import
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def _files_of_package(origin: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package, or a single file, by their path in the snapshot."""
    if origin.is_file():
        yield origin.name, origin
        return
    for name, path in _files_in(origin):
        yield f"{origin.name}/{name}", path


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder that belong in a snapshot, by their relative path."""
    seen = set()  # against links that lead in a circle
    for parent, folders, names in os.walk(folder, followlinks=True):
        seen.add(os.path.realpath(parent))
        folders[:] = [
            name
            for name in folders
            if name not in _IGNORED_FOLDERS and os.path.realpath(os.path.join(parent, name)) not in seen
        ]
        for name in names:
            path = Path(parent, name)
            if path.suffix not in _IGNORED_SUFFIXES and path.is_file():
                yield path.relative_to(folder).as_posix(), path


def _digest(files: Iterable[tuple[str, Path]]) -> str:
    total = hashlib.sha256()
    for name, path in sorted(files):
        content = hashlib.sha256(path.read_bytes()).digest()
        total.update(name.encode(errors="surrogateescape") + b"\0" + content)
    return total.hexdigest()


def _write(snapshot: Path, files: dict[str, Path]) -> None:
    """Copy the files; several processes may write the same snapshot at the same time."""
    draft = snapshot.with_name(f".{snapshot.name}-{secrets.token_hex(4)}")
    try:
        for name, source in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, draft / name)
        draft.rename(snapshot)
    except OSError:
        if not snapshot.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _is_installed(path: Path) -> bool:
    # Also in the site-packages of another environment: clusters put those on PYTHONPATH.
    if {"site-packages", "dist-packages"} & {*path.resolve().parts}:
        return True
    roots = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("stdlib")]
    return any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots)
