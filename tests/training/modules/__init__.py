"""LightningModules as users write them, one file for each purpose."""

from pathlib import Path

import pytest


def enter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this folder the current one, so that ``model.class`` can be ``file.Class``."""
    folder = Path(__file__).parent
    monkeypatch.syspath_prepend(folder)
    monkeypatch.chdir(folder)
