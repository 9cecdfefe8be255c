"""A run that reports to a W&B server on this machine."""

from pathlib import Path

import pytest

from hpc_dl.tracking import wandb_errors, wandb_reporter

from .fake_wandb import FakeWandb
from .reported_run import ReportedRun


@pytest.fixture
def run(tmp_path: Path, wandb_server: FakeWandb, monkeypatch: pytest.MonkeyPatch) -> ReportedRun:
    """A run with short waits between attempts to reach the server."""
    monkeypatch.setattr(wandb_errors.Patience, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(wandb_reporter, "REFUSED_INTERVAL_S", 0.1)
    return ReportedRun(tmp_path, wandb_server)
