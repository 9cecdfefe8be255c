"""Three shipped experiments, trained on the CPU as configured, reach their figures.

They are `fast` in benchmarks/zoo.yaml. `make zoo` trains all; tests/docs/test_topics.py two more.
"""

import json
import os
from pathlib import Path

import pytest

from benchmarks.zoo import PAGE, RESULTS, figures, page, recorded_results
from benchmarks.zoo_corrections import CORRECTIONS, affected
from hpc_dl import models
from hpc_dl.data import sources
from hpc_dl.errors import DataError
from hpc_dl.nn import initialization
from tests.cli.conftest import HpcDl, hpc_dl
from tests.conftest import PROJECT
from tests.models.samples import combinations

__all__ = ["hpc_dl"]

#: Configurations without a result, and since when.
UNTRAINED = {"transformer-kjv": "2026-11-21", "vit-fashion_mnist": "2026-11-21"}


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures-data")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("config", [name for name, figure in figures().items() if figure.fast])
def test_shipped_experiment_reaches_its_recorded_result(
    config: str, data_folder: Path, tmp_path: Path, hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        sources.ensure(config.partition("-")[2], data_folder)
    except DataError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the data set is not available here: {error}")
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
    monkeypatch.chdir(PROJECT)
    trained, figure = hpc_dl(*figures()[config].command, *options), figures()[config]
    assert trained.status == 0, trained.err
    metrics = trained.json["metrics"]
    assert figure.is_reached(metrics[figure.metric], metrics), (
        f"{figure.metric} {metrics[figure.metric]}, required {figure.description}"
    )


def test_every_config_has_a_figure() -> None:
    assert {figure.config for figure in figures().values()} == {
        path.stem for path in (PROJECT / "configs").glob("*.yaml")
    }


def test_every_config_has_a_recorded_result() -> None:
    recorded = {name for name, result in recorded_results().items() if result.get("values")}
    assert set(figures()) - recorded == set(UNTRAINED), "a trained configuration leaves UNTRAINED, none is added"


def test_page_lists_results_from_before_a_correction(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listed are all architectures whose initial weights depend on the activation."""
    asked: list[str] = []
    suitable = initialization._suitable
    monkeypatch.setattr(initialization, "_suitable", lambda name: asked.append(name) or suitable(name))
    corrected = set()
    for architecture, combination in {it.name: it for it in combinations()}.items():
        asked.clear()
        combination.build(seed=0)
        corrected |= {architecture} if asked else set()
    assert corrected == set(CORRECTIONS[0].architectures)
    results = {"mlp-a": {"date": "2026-11-29"}, "mlp-b": {"date": "2026-11-30"}, "linear-a": {"date": "2026-11-21"}}
    rows = affected(["mlp-b", "linear-a", "mlp-a", "mlp-c"], results)
    assert [(row[0], *row[-2:]) for row in rows] == [
        ("mlp-a", "2026-11-29", "**before**"),
        ("mlp-c", "", "none"),
        ("mlp-b", "2026-11-30", "after"),
    ]


def test_every_architecture_and_every_source_has_a_config() -> None:
    pairs = [figure.config.partition("-") for figure in figures().values()]
    assert {architecture for architecture, _, _ in pairs} == set(models.names())
    assert {source for _, _, source in pairs} == set(sources.names())


def test_page_shows_the_recorded_results() -> None:
    results = json.loads(RESULTS.read_text())
    assert PAGE.read_text() == page(results), "run `python -m benchmarks.zoo --page`"
    assert set(results) <= set(figures())
