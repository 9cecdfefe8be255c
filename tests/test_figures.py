"""The fast shipped experiments, trained on the CPU as configured, reach their figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.zoo import PAGE, RESULTS, figures, page
from hpc_dl import models
from hpc_dl.data import sources
from hpc_dl.errors import DataError
from tests.conftest import PROJECT


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures-data")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("config", [name for name, figure in figures().items() if figure.fast])
def test_shipped_experiment_reaches_its_recorded_result(config: str, data_folder: Path, tmp_path: Path) -> None:
    try:
        sources.ensure(config.partition("-")[2], data_folder)
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the data set is not available here: {error}")
    command = [sys.executable, "-c", "from hpc_dl.cli.main import main; main()", *figures()[config].command]
    options = [
        "wandb.mode=disabled",
        "trainer.accelerator=cpu",
        "trainer.figures=false",  # they change nothing, and have tests of their own
        "--json",
        "--runs",
        str(tmp_path),
        "--data",
        str(data_folder),
    ]
    done = subprocess.run([*command, *options], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics, figure = json.loads(done.stdout)["metrics"], figures()[config]
    assert figure.is_reached(metrics[figure.metric], metrics), (
        f"{figure.metric} {metrics[figure.metric]}, required {figure.description}"
    )


def test_every_config_has_a_recorded_result() -> None:
    assert {figure.config for figure in figures().values()} == {
        path.stem for path in (PROJECT / "configs").glob("*.yaml")
    }


def test_every_architecture_and_every_source_has_a_config() -> None:
    pairs = [figure.config.partition("-") for figure in figures().values()]
    assert {architecture for architecture, _, _ in pairs} == set(models.names())
    assert {source for _, _, source in pairs} == set(sources.names())


def test_page_shows_the_recorded_results() -> None:
    results = json.loads(RESULTS.read_text())
    assert PAGE.read_text() == page(results), "run `python -m benchmarks.zoo --page`"
    assert set(results) <= set(figures())
