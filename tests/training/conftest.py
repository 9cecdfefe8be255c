"""Tiny data files, and the folder of users' own modules."""

from pathlib import Path

import pytest

from tests import experiments
from tests.training import modules


@pytest.fixture(scope="session")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 / 13 / 11 images of 1 × 8 × 8 bytes in three classes."""
    return experiments.classification_file(tmp_path_factory.mktemp("images"))


@pytest.fixture
def user_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes tests/training/modules the current folder: ``model.class`` can be ``file.Class``."""
    modules.enter(monkeypatch)
