"""Getting the files of a data set: from a Debian package, from its public address, or as given by hand."""

from __future__ import annotations

import gzip
import hashlib
import logging
import shutil
import subprocess
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

from hpc_dl.errors import DataError, Fault

_log = logging.getLogger(__name__)
_TIMEOUT_S = 120


def first_that_works(name: str, ways: Mapping[str, Callable[[], Path]], remedy: str) -> tuple[Path, str]:
    """Try several ways to the same files, in order.

    Args:
        name: the data set, for the fault.
        ways: functions that fetch the files and return their folder, by the place that they fetch from.
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
    """Download a package of the system's own Debian or Ubuntu archive; needs no root and installs nothing.

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
