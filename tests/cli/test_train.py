"""``hpc-dl validate`` and ``hpc-dl train``, and the commands that read a trained run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl

Config = Callable[..., Path]


@pytest.mark.slow
def test_validate_describes_the_training(hpc_dl: HpcDl, config: Config, image_file: Path) -> None:
    path = config()
    status, out, err = hpc_dl("validate", path, "data.batch_size=10")
    assert (status, err) == (0, "")
    assert "valid" in out and "547" in out
    result = hpc_dl("validate", path, "--json", "data.batch_size=10", "trainer.max_epochs=3")
    assert result.err == ""
    assert result.json == {
        "name": "tiny",
        "model": "mlp",
        "parameters": 547,
        "receptive_field": None,
        "data": str(image_file),
        "task": "classification",
        "input_shape": [1, 8, 8],
        "num_outputs": 3,
        "classes": ["dark", "gray", "light"],
        "notes": [],
        "sizes": {"train": 48, "val": 13, "test": 11},
        "ranks": 1,
        "global_batch_size": 10,
        "batches_per_epoch": 4,
        "total_steps": 12,
    }
    assert list(Path.cwd().iterdir()) == [], "validation wrote files"


@pytest.mark.slow
def test_train_prints_json_that_matches_the_run_folder(hpc_dl: HpcDl, config: Config) -> None:
    status, out, err = hpc_dl("train", config(), "--json", "seed=3", "model.width=4")
    assert status == 0
    document = json.loads(out)
    folder = Path(document["dir"])
    assert folder.parent == Path.cwd() / "runs"
    assert document == json.loads((folder / "result.json").read_text())
    assert (document["run"], document["state"], document["seed"]) == (folder.name, "finished", 3)
    assert {"test/accuracy", "val/loss", "train/loss"} <= set(document["metrics"])
    assert "width: 4" in (folder / "config.yaml").read_text()
    assert f"Run folder: {folder}" in err

    for names in (["latest"], [folder.name], [folder.name[:-4]], [str(folder)], []):
        (row,) = hpc_dl("status", *names, "--json").json
        assert (row["run"], row["state"], row["step"]) == (folder.name, "finished", 6)
    (row,) = hpc_dl("results", "--json").json
    assert row["metrics"] == document["metrics"]
    status, out, err = hpc_dl("logs", "latest")
    assert status == 0 and "Finished after 6 steps" in out
    status, out, err = hpc_dl("logs", "latest", "--rank", "1")
    assert status == 2 and "--rank: has no log in this run (got 1; allowed: 0)" in err
    status, out, err = hpc_dl("cancel", "latest", "--json")
    assert status == 0 and json.loads(out)[0]["state"] == "finished" and "had already ended (finished)" in err


@pytest.mark.slow
def test_train_prints_the_metrics_and_the_run_folder(hpc_dl: HpcDl, config: Config) -> None:
    status, out, _ = hpc_dl("train", config(), "--runs", "elsewhere")
    assert status == 0
    (run,) = (run.path for run in all_runs(Path.cwd() / "elsewhere"))
    assert f"Run folder: {run}" in out
    result = json.loads((run / "result.json").read_text())
    assert f"{result['metrics']['test/accuracy']:.4g}" in out
    assert hpc_dl("status", "--runs", "elsewhere", "--json").json[0]["run"] == run.name


@pytest.mark.slow
def test_failed_training_exits_with_1_and_its_reason(
    hpc_dl: HpcDl, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    status, out, err = hpc_dl("train", config(model={"class": "failing_model.FailingModel"}, optimizer=None), "--json")
    assert status == 1
    document = json.loads(out)
    assert document["state"] == "failed"
    assert document["metrics"] == {}
    file = Path(__file__).with_name("failing_model.py")
    reason = f'ValueError: no luck, in {file} line 16: `raise ValueError("no luck")`'
    assert document["reason"] == reason
    assert f"hpc-dl: the run failed: {reason}" in err
    log = Path(document["dir"]) / "logs" / "rank-0.log"
    assert f"hpc-dl: its log: {log}" in err
    assert 'raise ValueError("no luck")' in log.read_text(), "the traceback is in the log"
    (row,) = hpc_dl("status", "--json").json
    assert (row["state"], row["reason"]) == ("failed", reason)
    header, _ = hpc_dl("status").out.splitlines()
    assert header.split() == ["run", "state", "job", "reason"], "no progress: it failed in the first step"


def test_failure_that_cannot_be_recorded(hpc_dl: HpcDl, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_in_a_folder_that_became_read_only(run: RunFolder, **options: bool) -> int:
        write_state(run, "running")
        return 1

    monkeypatch.setattr("hpc_dl.cluster.launch.run_rank", train_in_a_folder_that_became_read_only)
    status, _, err = hpc_dl("train", config())
    assert status == 1
    assert "hpc-dl: the run ended with status 1, which could not be recorded in " in err


def test_refused_training_writes_nothing(hpc_dl: HpcDl, config: Config) -> None:
    for override in ("data.batch_size=100", "model.name=nosuch", "data.file=none.h5", "trainer.devices=2"):
        status, out, err = hpc_dl("train", config(), override, "--json")
        assert (status, out) == (2, ""), override
        assert err.splitlines()[1:], override
        assert all(line.startswith("hpc-dl: ") for line in err.splitlines()[1:])
    assert not Path("runs").exists()


def test_run_folder_that_cannot_be_made(hpc_dl: HpcDl, config: Config) -> None:
    Path("file").write_text("")
    status, out, err = hpc_dl("train", config(), "--runs", "file")
    assert (status, out) == (2, "")
    assert "hpc-dl: file: a run folder cannot be created here: Not a directory" in err


def test_shipped_source_is_made_in_the_data_folder(hpc_dl: HpcDl, config: Config) -> None:
    path = config(data={"file": None, "source": "digits"}, trainer={"limit_train_batches": 2})
    status, out, err = hpc_dl("validate", path, "--data", "mine", "--json")
    assert status == 0
    assert json.loads(out)["data"] == str(Path.cwd() / "mine" / "digits.h5")
    assert Path("mine/digits.h5").is_file()
    assert "Creating the data set digits (only once)" in err
    assert hpc_dl("validate", path, "--data", "mine").err == ""
