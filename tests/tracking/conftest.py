"""The fixture that reports to W&B in a separate process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .wandb_process import Action, Report, run_reporting_process


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., Report]:
    """Have reporting_process.py report to a server; see :func:`run_reporting_process`."""

    def run(url: str, mode: str = "auto", actions: dict[int, Action] | None = None, **task: Any) -> Report:
        return run_reporting_process(tmp_path, url, mode, actions or {}, task)

    return run
