"""The copy of the code in the run folder: edits made while the job is queued do not affect it."""

from __future__ import annotations

import importlib.util
import shutil
import site
import sysconfig
from pathlib import Path

import hpc_dl
from hpc_dl.runs.folder import RunFolder

_IGNORED = shutil.ignore_patterns(
    "__pycache__", "*.pyc", ".git", ".venv", "*.h5", "*.hdf5", "*.ckpt", "project_template", "shipped_files"
)


def take(folder: RunFolder, user_module: str | None = None) -> None:
    """Copy this package, and the user's own code, into ``RUN/code``, which jobs import from first.

    Args:
        folder: the run.
        user_module: import path of the module with the user's LightningModule. Its top-level
            package or file is copied, unless it is installed (in site-packages), where edits are
            not expected.
    """
    folder.code.mkdir(exist_ok=True)
    _copy(Path(hpc_dl.__file__).parent, folder.code)
    if user_module is not None:
        origin = origin_of(user_module)
        if origin is not None and not _is_installed(origin):
            _copy(origin, folder.code)


def origin_of(module: str) -> Path | None:
    """The folder of a module's top-level package, or the file of a top-level module."""
    spec = importlib.util.find_spec(module.partition(".")[0])
    if spec and spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    return Path(spec.origin) if spec and spec.origin else None


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target / source.name, ignore=_IGNORED, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target / source.name)


def _is_installed(path: Path) -> bool:
    roots = [*site.getsitepackages(), site.getusersitepackages(), sysconfig.get_path("stdlib")]
    return any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots)
