"""``data.stage``: a training reads a copy, and nothing of its result depends on that."""

import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from hpc_dl.config import yaml
from hpc_dl.data.config import DataConfig
from hpc_dl.data.staging.node_copy import node_copy
from hpc_dl.runs.comparison import differences
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.run_files import read_provenance, read_timings
from hpc_dl.training.staged_data import stage
from hpc_dl.training.stopping import signals
from hpc_dl.training.stopping.watchdog import Watchdog
from tests import experiments
from tests.training import attempts
from tests.training.attempts import Stop


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The user's folder in the scratch space of this node."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setenv("HPC_DL_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch" / f"hpc_dl-{os.geteuid()}"


def prepared(folder: Path, data_stage: str, ranks: int = 0) -> RunFolder:
    file = folder / "classes.h5"
    if not file.exists():
        experiments.classification_file(folder, {"train": 24, "val": 8, "test": 8})
    sections = {
        "data": {"stage": data_stage},
        "trainer": {"max_epochs": 2, "accelerator": "cpu"},
        "checkpoint": {"every": "2 steps"},
        "resources": {"gpus_per_node": ranks, "cpus_per_gpu": 1},
    }
    return experiments.prepared(folder, experiments.raw(file, **sections))


def set_stage(run: RunFolder, data_stage: str) -> None:
    """Have the next attempt stage its data in another way."""
    content = yaml.load(run.config)
    content["data"]["stage"] = data_stage
    run.config.write_text(yaml.dumps(content), encoding="utf-8")


def test_nothing_depends_on_staging(tmp_path: Path, scratch: Path) -> None:
    plain = attempts.finish(prepared(tmp_path, "none"))
    run = prepared(tmp_path, "none")
    for step, next_stage in ((2, "ram"), (4, "node")):
        assert attempts.attempt(run, Stop(step)) == 75
        set_stage(run, next_stage)
    assert attempts.attempt(run) == 0
    assert differences(run, plain) == []
    log = run.log(0).read_text()
    assert f"data.stage: reading {scratch}" in log and "data.stage: reading /dev/shm/" in log
    assert list(scratch.iterdir()) == []
    assert read_provenance(run)["data"]["file"] == str(tmp_path / "classes.h5")
    for path in run.journal.iterdir():
        assert str(scratch) not in path.read_text()
    timings = read_timings(run)
    assert timings["stage_s"] > 0 and {"stage_original_s", "stage_copy_s"} < timings.keys()


def test_without_a_copy_the_original_is_read(tmp_path: Path, scratch: Path) -> None:
    scratch.mkdir()
    scratch.chmod(0o777)  # anyone could change the data
    run = attempts.finish(prepared(tmp_path, "node"))
    (line,) = [line for line in run.log(0).read_text().splitlines() if "data.stage" in line]
    assert line.endswith(f"no copy, reading the original: {scratch}: is not a folder that only you can change")


def test_copy_that_another_run_left_is_deleted(tmp_path: Path, scratch: Path) -> None:
    copy = node_copy(experiments.regression_file(tmp_path), scratch, lambda done, total: None)
    left = [path.name for path in scratch.iterdir()]
    copy._lock.release()  # as a kill does
    assert left
    attempts.finish(prepared(tmp_path, "none"))
    assert list(scratch.iterdir()) == []


def test_request_to_stop_ends_the_copy(tmp_path: Path, scratch: Path) -> None:
    config = DataConfig(file=str(experiments.classification_file(tmp_path)), stage="node")
    with attempts.signals_of_this_process():
        signals.install()
        signals.clear_request()
        os.kill(os.getpid(), signal.SIGUSR2)
        try:
            staged = stage(config, Watchdog(RunFolder(tmp_path), 0, 1, None), None)
        finally:
            signals.clear_request()
    assert staged.copy is None and staged.config == config
    assert list(scratch.iterdir()) == []


def test_slow_copy_counts_as_progress_until_its_limit(tmp_path: Path, scratch: Path) -> None:
    config = DataConfig(file=str(experiments.classification_file(tmp_path)), stage="node")
    watchdog = Watchdog(RunFolder(tmp_path), 0, 1, None)
    before = watchdog._progress
    staged = stage(config, watchdog, 60.0)
    assert staged.copy is not None and watchdog._progress is not before
    staged.release()
    assert stage(config, watchdog, 0.0).copy is None


@pytest.mark.slow
def test_ranks_share_a_copy_which_outlives_a_kill_until_the_next_attempt(tmp_path: Path, scratch: Path) -> None:
    run = prepared(tmp_path, "node", ranks=2)
    pause = (signal.SIGSTOP,)
    ranks = attempts.start(run, Stop(1, numbers=pause), Stop(1, numbers=pause, rank=1))
    deadline = time.monotonic() + attempts.WAIT_S
    while any(psutil.Process(rank.pid).status() != psutil.STATUS_STOPPED for rank in ranks):
        assert time.monotonic() < deadline and all(rank.exitcode is None for rank in ranks), attempts.output(run)
        time.sleep(0.05)
    attempts.kill(ranks)
    assert [path.suffix for path in sorted(scratch.iterdir())] == ["", ".lock"]
    logs = "".join(run.log(rank).read_text() for rank in range(2))
    assert logs.count("made in") == logs.count("shared with other processes") == 1
    attempts.finish_in_processes(run)
    assert list(scratch.iterdir()) == []
