"""``hpc-dl sync`` on trained runs."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.tracking.journal import read_journal
from hpc_dl.tracking.wandb_record import WandbRecord
from tests.child_processes import PROJECT, start
from tests.tracking.fake_wandb import FakeWandb
from tests.tracking.reported_run import wait

from .conftest import HpcDl


@pytest.fixture
def runs(hpc_dl: HpcDl, config: Callable[..., Path], wandb_server: FakeWandb) -> list[RunFolder]:
    """Two runs that were trained offline."""
    path = config(wandb={"mode": "offline"})
    outcomes = [hpc_dl("train", path, f"seed={seed}", "--json").json for seed in (1, 2)]
    return [RunFolder(Path(outcome["dir"])) for outcome in outcomes]


@pytest.mark.slow
def test_sync_proves_that_all_rows_are_there(hpc_dl: HpcDl, runs: list[RunFolder], wandb_server: FakeWandb) -> None:
    assert wandb_server.rows == {}
    for _ in range(2):
        done = hpc_dl("sync", "--json")
        assert done.status == 0, done.err
        for run, line, facts in zip(runs, done.err.splitlines(), done.json, strict=True):
            record = WandbRecord.of(run.path)
            rows = len(read_journal(run.journal))
            page = f"{wandb_server.url}/test-entity/hpc_dl/runs/{record.id}"
            assert line == f"{run.name}: {rows} of {rows} rows, last step {rows}, finished: {page}"
            assert (facts["expected"], facts["received"], facts["state"]) == (rows, rows, "finished")
            assert wandb_server.state(record.id) == "finished"
            assert wandb_server.duplicates(record.id) == 0


@pytest.mark.slow
def test_log_names_the_command_with_the_folder(runs: list[RunFolder], wandb_server: FakeWandb) -> None:
    log = runs[0].log(0).read_text()
    assert f"to upload this run from a machine with network: hpc-dl sync {runs[0].path}" in log


@pytest.mark.slow
def test_one_bad_run_does_not_stop_the_others(hpc_dl: HpcDl, runs: list[RunFolder], wandb_server: FakeWandb) -> None:
    (runs[0].path / "wandb.json").write_text("{")
    done = hpc_dl("sync", *(run.path for run in runs))
    assert done.status == 1
    assert done.err.splitlines()[0].startswith(f"{runs[0].name}: NOT uploaded: ")
    assert len(wandb_server.rows) == 1


@pytest.mark.slow
def test_refused_upload_is_an_error(hpc_dl: HpcDl, runs: list[RunFolder], wandb_server: FakeWandb) -> None:
    wandb_server.refuse = 403
    done = hpc_dl("sync", runs[0].path)
    assert done.status == 1
    assert "NOT uploaded: the server refused with status 403" in done.err


@pytest.mark.slow
def test_missing_key_is_said(hpc_dl: HpcDl, runs: list[RunFolder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    done = hpc_dl("sync", runs[0].path)
    assert done.status == 2
    assert "no API key for" in done.err and "un `wandb login`, or set WANDB_API_KEY" in done.err


@pytest.mark.slow
def test_ctrl_c_ends_it_at_once(runs: list[RunFolder], wandb_server: FakeWandb, hpc_dl: HpcDl) -> None:
    wandb_server.hangs = True
    command = [sys.executable, "-c", "from hpc_dl.cli.main import main; main()", "sync", *(run.path for run in runs)]
    process = start(command, cwd=PROJECT, stderr=subprocess.PIPE)
    try:
        wait(lambda: wandb_server.requests.total() >= 2, 60)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (-signal.SIGINT, 130)
        assert process.stderr.read() == ""
    finally:
        process.kill()
    wandb_server.hangs = False
    assert hpc_dl("sync").status == 0
