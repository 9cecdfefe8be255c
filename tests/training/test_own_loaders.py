"""Modules with their own data loaders, and sections that a user's module ignores."""

import re
import signal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.cluster.prepare import check
from hpc_dl.cluster.resume import apply_changes
from hpc_dl.config import yaml
from hpc_dl.config.experiment import Experiment
from hpc_dl.errors import ConfigError, RunError, environment_fault
from hpc_dl.inference.evaluation import evaluate
from hpc_dl.inference.trained_model import TrainedModel
from hpc_dl.inference.trained_run import TrainedRun, run_data
from hpc_dl.regular_files import read_json
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state
from tests import experiments
from tests.training.attempts import Stop, finish, finish_in_processes

pytestmark = pytest.mark.usefixtures("user_modules")


def content(file: Path | None = None, name: str = "Net", **sections: Any) -> dict[str, Any]:
    raw = experiments.raw(file or Path(), model={"class": f"own_loaders.{name}"}, **sections)
    del raw["optimizer"]
    if file is None:
        del raw["data"]
    return raw


def prepared(folder: Path, **sections: Any) -> RunFolder:
    return experiments.prepared(folder, content(**{"trainer": {"max_epochs": 3}, **sections}))


def test_own_loaders_train_validate_and_test(tmp_path: Path) -> None:
    run = finish(prepared(tmp_path, name="WithTest"))
    result = read_json(run.result)
    assert result["steps"] == 15
    names = {"train/loss", "val_loss/dataloader_idx_0", "val_loss/dataloader_idx_1", "test_acc"}
    assert names <= set(result["metrics"])
    log = run.log(0).read_text()
    assert "Net with 27 parameters on its own loaders, 1 × cpu" in log.replace("WithTest", "Net")
    assert "lowest val_loss/dataloader_idx_0" in log
    assert yaml.load(run.config)["data"] is None


@pytest.mark.slow
@pytest.mark.parametrize("step", [pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow), 7])
def test_training_with_own_loaders_resumes_exactly(tmp_path: Path, step: int) -> None:
    whole = finish(prepared(tmp_path / "whole"))
    stopped = finish(prepared(tmp_path / "stopped"), Stop(step, numbers=(signal.SIGUSR2,)))
    assert differences(stopped, whole) == []


@pytest.mark.slow
def test_longer_training_with_own_loaders_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = finish(prepared(tmp_path / "whole"))
    short = finish(prepared(tmp_path / "short", trainer={"max_epochs": 2}))
    longer = yaml.load(short.config)
    longer["trainer"]["max_epochs"] = 3
    short.config.write_text(yaml.dumps(longer))
    assert differences(finish(short), whole) == []


@pytest.mark.slow
def test_ranks_share_the_samples_of_own_loaders(tmp_path: Path) -> None:
    run = finish_in_processes(prepared(tmp_path, resources={"gpus_per_node": 0, "nodes": 2}))
    assert read_json(run.result)["steps"] == 9, "40 samples, 8 in a batch, 2 ranks, 3 epochs"


def test_own_loaders_are_evaluated_on_each_of_their_splits(tmp_path: Path) -> None:
    run = finish(prepared(tmp_path, name="WithTest"))
    trained = TrainedRun.open(run)
    trained.check_split("val")
    evaluation = evaluate(TrainedModel.load(trained), "test")
    assert evaluation["metrics"] == {"acc": pytest.approx(read_json(run.result)["metrics"]["test_acc"])}
    assert evaluation["samples"] is None
    assert evaluate(TrainedModel.load(trained), "train")["metrics"].keys() == {"acc"}
    with pytest.raises(RunError, match=r"^--split: is not a split of the data \(got 'all'; allowed: train, val"):
        trained.check_split("all")


def test_module_without_a_test_loader_is_not_evaluated(tmp_path: Path) -> None:
    run = finish(prepared(tmp_path, name="WithTestStep"))
    with pytest.raises(RunError, match=r"^--split: the run's own loaders have no test_dataloader"):
        evaluate(TrainedModel.load(TrainedRun.open(run)), "test")


def test_run_with_own_loaders_is_prepared_again(tmp_path: Path) -> None:
    run = finish(prepared(tmp_path))
    assert run_data(run).file is None
    assert apply_changes(run, ["trainer.max_epochs=4"]).trainer.max_epochs == 4


def test_trial_runs_own_loaders() -> None:
    check(Experiment.from_dict(content()), data_dir=None, say=pytest.fail, try_batches=True)


def test_loader_without_batches_is_refused(tmp_path: Path) -> None:
    message = r"^model\.class: its train_dataloader returns no batches \(got 'own_loaders\.Empty'\)"
    with pytest.raises(ConfigError, match=message):
        check(Experiment.from_dict(content(name="Empty")), data_dir=None, say=pytest.fail, try_batches=True)
    with pytest.raises(ConfigError, match=message):
        finish(prepared(tmp_path, name="Empty"))


def test_failing_worker_of_a_loader_names_the_statement(tmp_path: Path) -> None:
    run = prepared(tmp_path, name="FailsInWorker")
    with pytest.raises(KeyError):
        finish(run)
    reason = read_state(run)["reason"]
    statement = r"in /.*/own_loaders\.py line \d+: `raise KeyError\(\"scan_020\"\)`"
    assert re.fullmatch(rf"KeyError: 'scan_020' \(in a data loading worker\), {statement}", reason)


@pytest.mark.parametrize(
    ("by", "how", "remedy"),
    [
        (0, "has ended", "Set num_workers to 0: then the line says which statement does it"),
        (signal.SIGKILL, "was killed by a signal (Killed)", "Request more memory (resources.memory), or lower num_wo"),
        (signal.SIGBUS, "was killed by a signal (Bus error)", "Lower num_workers or the batch size, or give the cont"),
    ],
)
def test_lost_worker_of_a_loader_is_one_line(tmp_path: Path, by: int, how: str, remedy: str) -> None:
    raw = content(name="LosesWorker")
    raw["model"]["args"] = {"by": int(by)}
    run = experiments.prepared(tmp_path, raw)
    with pytest.raises(RuntimeError) as caught:
        finish(run)
    line = str(environment_fault(caught.value))
    assert line.startswith(f"data loader: one of its worker processes {how}. {remedy}")
    assert read_state(run)["reason"] == line


def test_loss_of_a_worker_is_noticed_before_its_signal_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torch's handler of the signal, the loader finds the process at its next check."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "modules"))
    loader = import_module("own_loaders").LosesWorker(by=int(signal.SIGKILL)).train_dataloader()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid\(s\) \d+\) exited unexpectedly$") as caught:
            list(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    line = "data loader: one of its worker processes was killed by a signal (Killed). Request more memory"
    assert str(environment_fault(caught.value)).startswith(line)


def test_module_without_loaders_needs_data() -> None:
    raw = content() | {"model": {"class": "training_step_only.Net"}}
    with pytest.raises(ConfigError, match=r"^model\.args: do not fit|^data: is required, since Net has no train_dat"):
        check(Experiment.from_dict(raw), data_dir=None, say=pytest.fail)


def test_loaders_that_lose_to_the_data_section_are_reported(image_file: Path) -> None:
    said: list[str] = []
    check(Experiment.from_dict(content(image_file)), data_dir=None, say=said.append)
    assert said == [
        "Net also defines train_dataloader and val_dataloader: not used, since `data` names the batches. "
        "Leave `data` out to use the module's own."
    ]


def test_shipped_architecture_needs_data() -> None:
    with pytest.raises(ConfigError, match=r"^data: set exactly one of `source`"):
        Experiment.from_dict({"name": "x", "model": {"name": "mlp"}})


@pytest.mark.parametrize("key", ["optimizer", "schedule", "loss"])
def test_section_without_effect_is_refused(tmp_path: Path, key: str) -> None:
    values = {"optimizer": {"name": "sgd", "lr": 1.0}, "schedule": {"name": "cosine"}, "loss": {"name": "mse"}}
    file = tmp_path / "x.yaml"
    file.write_text(yaml.dumps(content() | {key: values[key]}))
    with pytest.raises(ConfigError, match=rf"^{key}: has no effect on own_loaders\.Net"):
        Experiment.load(file)
