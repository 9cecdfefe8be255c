"""The shipped experiments reach their figures on real data. Each is run as its file stands, on the CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.data import sources
from hpc_dl.errors import DataError
from tests.conftest import PROJECT


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures-data")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("config", "floor"),
    [
        ("cnn-digits", 0.98),
        ("mlp-digits", 0.95),
        ("linear-digits", 0.93),
        ("linear-fashion_mnist", 0.835),
        ("mlp-fashion_mnist", 0.88),
        ("cnn-fashion_mnist", 0.91),
    ],
)
def test_a_shipped_experiment_reaches_its_figure(config: str, floor: float, data_folder: Path, tmp_path: Path) -> None:
    try:
        sources.ensure(config.partition("-")[2], data_folder)
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the data set cannot be had here: {error}")
    command = [sys.executable, "-c", "from hpc_dl.cli.main import main; main()", "train", f"configs/{config}.yaml"]
    options = [
        "wandb.mode=disabled",
        "trainer.accelerator=cpu",
        "--json",
        "--runs",
        str(tmp_path),
        "--data",
        str(data_folder),
    ]
    done = subprocess.run([*command, *options], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["metrics"]["test/accuracy"] >= floor
    if config == "cnn-fashion_mnist":
        assert outcome["epochs"] == 5
