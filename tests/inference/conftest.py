"""Small trained runs that the tests of inference use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun
from hpc_dl.runs.folder import RunFolder
from tests import experiments
from tests.cli.conftest import hpc_dl  # noqa: F401
from tests.training.attempts import finish

Train = Callable[..., RunFolder]


@pytest.fixture(scope="package")
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Train a small run on a file; the sections are those of :func:`tests.experiments.raw`."""

    def trained(file: Path, **sections: Any) -> RunFolder:
        folder = tmp_path_factory.mktemp("trained")
        return finish(experiments.prepared(folder, experiments.raw(file, **sections)))

    return trained


@pytest.fixture(scope="package")
def image_run(train: Train, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An MLP that classifies images."""
    return train(experiments.classification_file(tmp_path_factory.mktemp("images")))


def load(run: RunFolder) -> TrainedModel:
    """Load the model of a run, as the commands do."""
    return TrainedModel.load(TrainedRun.open(run))
