"""The uninterrupted training, and its checkpoints."""

import pytest

from hpc_dl.training.lightning.epoch_loop import Position
from tests.training.lightning.resumed_training import Rows, fit


@pytest.fixture(scope="session")
def uninterrupted() -> Rows:
    return fit()[0]


@pytest.fixture(scope="session")
def saved(uninterrupted: Rows) -> dict[Position, bytes]:
    rows, checkpoints, _ = fit(save=True)
    assert rows == uninterrupted, "capture() must not change the training"
    return checkpoints
