"""Data for many batches, and runs that nothing happens to."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.runs.folder import RunFolder
from tests import experiments
from tests.training.attempts import finish
from tests.training.stopping.interrupted_runs import FREQUENTLY_SAVED, prepared


@pytest.fixture(scope="session")
def many_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """192 / 29 / 27 images: 24, 4 and 4 batches of 8."""
    return experiments.classification_file(tmp_path_factory.mktemp("many"), {"train": 192, "val": 29, "test": 27})


@pytest.fixture(scope="session")
def uninterrupted(many_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunFolder]:
    """Returns the uninterrupted run of an experiment; each is trained once."""
    runs: dict[str, RunFolder] = {}

    def run(**sections: Any) -> RunFolder:
        if repr(sections) not in runs:
            runs[repr(sections)] = finish(prepared(tmp_path_factory.mktemp("uninterrupted"), many_images, **sections))
        return runs[repr(sections)]

    return run


@pytest.fixture(scope="session")
def saved_reference(many_images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An uninterrupted run that saves a checkpoint every few steps."""
    content = experiments.raw(many_images, **FREQUENTLY_SAVED)
    return finish(experiments.prepared(tmp_path_factory.mktemp("reference"), content))


@pytest.fixture
def saved_run(tmp_path: Path, many_images: Path) -> RunFolder:
    """A prepared run like :func:`saved_reference`."""
    return experiments.prepared(tmp_path, experiments.raw(many_images, **FREQUENTLY_SAVED))
