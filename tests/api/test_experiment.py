"""Experiments from Python: load, change, submit, sweep, and use the results."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hpc_dl import Experiment, HpcDlError, Runs
from hpc_dl.config import yaml
from tests import experiments

SWEEP = {"parameters": {"optimizer.lr": {"values": [0.1, 0.01]}}}


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return experiments.classification_file(tmp_path_factory.mktemp("images"))


@pytest.fixture
def config(tmp_path: Path, image_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file ``tiny.yaml`` in the current folder."""
    monkeypatch.chdir(tmp_path)
    resources = {"cpus_per_gpu": 1, "gpus_per_node": 0}
    content = experiments.raw(image_file, resources=resources, sweep=SWEEP)
    Path("tiny.yaml").write_text(yaml.dumps(content))
    yield Path("tiny.yaml")


def planned(experiment: Experiment, **section: Any) -> list[dict[str, Any]]:
    from hpc_dl.cluster.site import SiteProfile

    plan = experiment.plan_sweep(SiteProfile(scheduler="local"), say=lambda line: None, **section)
    return [new.facts() for new in plan.new]


def test_overrides_are_arguments(config: Path) -> None:
    experiment = Experiment.load("tiny.yaml", "optimizer.lr=1e-3", "seed=5")
    assert (experiment.optimizer.lr, experiment.seed) == (1e-3, 5)
    assert Experiment.from_dict(experiment.to_dict()) == experiment


@pytest.mark.slow
def test_sweep_takes_the_section_of_the_file_and_keys_replace_it(config: Path) -> None:
    experiment = Experiment.load(config)
    assert [new["point"] for new in planned(experiment)] == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.01}]
    assert [new["seed"] for new in planned(experiment, repeats=2)] == [7, 8, 7, 8]
    changed = replace(experiment, seed=3)
    assert [new["seed"] for new in planned(changed)] == [3, 3], "what Python code changed counts"
    models = {"model.name": {"values": ["linear"]}}
    (member,) = planned(experiment, parameters=models)
    assert member["point"] == {"model.name": "linear"}, "keys of the other model do not apply"
    with pytest.raises(HpcDlError, match=r"sweep\.repeats"):
        planned(experiment, repeats=0)


def test_faults_are_raised_and_leave_nothing(config: Path) -> None:
    with pytest.raises(HpcDlError, match=r"optimizer\.rate"):
        Experiment.load(config, "optimizer.rate=1")
    with pytest.raises(HpcDlError, match="has no `sweep` section"):
        planned(Experiment.from_dict({**Experiment.load(config).to_dict(), "sweep": None}))
    with pytest.raises(HpcDlError, match=r"model\.name"):
        Experiment.load(config, "data.source=wine", "data.file=null", "model.name=cnn").submit(site="local")
    assert not Path("runs").exists()


@pytest.mark.slow  # starts processes that train
def test_submitted_run_gives_journal_metrics_and_model(config: Path, capfd: pytest.CaptureFixture[str]) -> None:
    experiment = Experiment.load(config, "trainer.max_epochs=2")
    run = experiment.submit(site="local")
    metrics = run.wait()
    assert "the run starts in the background" in capfd.readouterr().out
    assert run.status()["state"] == "finished"
    assert run.why()["cause"] == "nothing is wrong"
    assert metrics == run.metrics() and metrics["val/loss"] > 0
    losses = [row["val/loss"] for row in run.journal() if "val/loss" in row]
    assert metrics["val/loss"] in losses and len(losses) == 2
    model = run.model()
    with torch.inference_mode():
        assert model.network()(torch.zeros(2, *experiments.IMAGE)).shape == (2, 3)
    assert Runs()["latest"] == run
    assert run.cancel() is False, "it has ended"


@pytest.mark.slow  # starts processes that train
def test_sweep_gives_a_table_and_a_ranking(config: Path) -> None:
    experiment = Experiment.load(config)
    sweep = experiment.sweep(site="local")
    assert [row["state"] for row in sweep.wait()] == ["finished", "finished"]
    assert list(sweep.frame()["optimizer.lr"]) == [0.1, 0.01]
    best = sweep.ranking()[0]
    assert best.values == [min(run.metrics()["val/loss"] for run in sweep)]
    assert len(experiment.sweep(site="local", repeats=1)) == 2, "nothing new"
    assert sweep.resume() == [], "all have finished"
    assert [s.name for s in Runs().sweeps] == [sweep.name]
