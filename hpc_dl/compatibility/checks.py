"""Checks of the installed packages: their versions, and the private names that hpc_dl uses."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterable
from importlib import metadata
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from hpc_dl.compatibility.instances import INSTANCES
from hpc_dl.compatibility.private_names import OF_TRAINING, PRIVATE_NAMES, TESTED, PrivateNames
from hpc_dl.errors import ClusterError, Fault
from hpc_dl.formatting import shortened


def requirement(package: str) -> str:
    """The tested versions of a package as in pyproject.toml: ``pytorch-lightning>=2.6,<2.7``."""
    return package + _allowed(package)


def check_versions(*packages: str) -> None:
    """Check the installed versions against the tested ones, without importing the packages.

    Args:
        packages: names of distributions; by default all of which versions are tested.

    Raises:
        ClusterError: one is not installed, or outside of its range; with one line for each.
    """
    faults = [fault for package in packages or TESTED if (fault := _version_fault(package))]
    if faults:
        raise ClusterError(*faults)


def _version_fault(package: str) -> Fault | None:
    try:
        version = metadata.version(package)
    except metadata.PackageNotFoundError:
        return Fault(package, "is not installed", allowed=_allowed(package), remedy=_remedy(package))
    if _is_tested(package, version):
        return None
    problem = f"version {version} is installed, which hpc_dl was not tested with"
    return Fault(package, problem, allowed=_allowed(package), remedy=_remedy(package))


def _remedy(package: str) -> str:
    return f"install a tested version: pip install '{requirement(package)}'"


def _allowed(package: str) -> str:
    floor, bound = TESTED[package]
    return f">={floor},<{bound}"


def _is_tested(package: str, version: str) -> bool:
    try:
        # Without `rc1` and `+cpu`: 2.7rc1 behaves like 2.7, and 2.6.0a0+nv24.12 like 2.6.
        return SpecifierSet(_allowed(package)).contains(Version(version).base_version)
    except InvalidVersion:
        return False


def check_names(*packages: str) -> None:
    """Check that the required private names of these packages exist; imports the packages.

    Names that only the plain step needs are not required: see :func:`missing_for_plain_step`.

    Raises:
        ClusterError: names are missing; with one line for each package.
    """
    required = [entry for entry in PRIVATE_NAMES if entry.package in packages and not entry.only_plain_step]
    missing = _missing(required)
    faults = []
    for package in packages:
        names = [name for entry, name in missing if entry.package == package]
        if names:
            reason = next(entry.reason for entry, _ in missing if entry.package == package)
            problem = f"has no {shortened(names, 3)}, which hpc_dl needs to {reason}"
            faults.append(Fault(_installed(package), problem, allowed=_allowed(package), remedy=_remedy(package)))
    if faults:
        raise ClusterError(*faults)


def check_training(*, with_wandb: bool) -> None:
    """Check versions and private names of all that a training uses; takes milliseconds.

    Raises:
        ClusterError: see :func:`check_versions` and :func:`check_names`.
    """
    packages = (*OF_TRAINING, "wandb") if with_wandb else OF_TRAINING
    check_versions(*packages)
    check_names(*packages)


def missing_for_plain_step() -> str:
    """Describe which names the plain step lacks, in one sentence; empty when it can be used."""
    missing = _missing(entry for entry in PRIVATE_NAMES if entry.only_plain_step)
    if not missing:
        return ""
    package = missing[0][0].package
    names = shortened([name for _, name in missing], 3)
    return (
        f"{_installed(package)} has no {names} (tested: {_allowed(package)}): training uses Lightning's own step, "
        "which is slower for small networks"
    )


def _installed(package: str) -> str:
    return f"{package} {metadata.version(package)}"


def _missing(entries: Iterable[PrivateNames]) -> list[tuple[PrivateNames, str]]:
    """The names that do not exist, each with its entry; every instance is built once."""
    instances: dict[str, Any] = {}
    return [(entry, name) for entry in entries for name in entry.names if not _exists(name, instances)]


def _exists(name: str, instances: dict[str, Any]) -> bool:
    start, _, attributes = name.partition(":")
    try:
        if not attributes:
            return importlib.util.find_spec(start) is not None
        if start not in INSTANCES:
            value: Any = importlib.import_module(start)
        else:
            if start not in instances:
                instances[start] = INSTANCES[start]()
            value = instances[start]
        for attribute in attributes.split("."):
            value = getattr(value, attribute)
    except (AttributeError, ImportError, TypeError):  # TypeError: a class wants other arguments than it did
        return False
    return True
