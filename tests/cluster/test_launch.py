"""Ranks as processes of this machine, started by ``hpc-dl train``."""

import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from hpc_dl.cluster import job_environment, launch
from hpc_dl.cluster.rank_process import rank_of
from hpc_dl.config.experiment import Experiment
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import read_state, write_state
from hpc_dl.tracking.journal import read_journal
from tests.cluster.conftest import Desk, wait_until

TWO_RANKS = ("tiny.yaml", "resources.gpus_per_node=2")
OWN = ("model={class: own_model.Own}", "optimizer={}")


def ranks_of(desk: Desk) -> list[psutil.Process]:
    """The running processes of the desk's runs."""
    ranks = []
    for process in psutil.process_iter():
        try:
            belongs_to_run = any(str(desk.runs) in argument for argument in process.cmdline())
            if belongs_to_run and process.status() != psutil.STATUS_ZOMBIE:
                ranks.append(process)
        except psutil.Error:
            continue
    return ranks


def test_single_rank_ignores_the_ranks_of_another_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in job_environment.RANK_VARIABLES:
        monkeypatch.setenv(name, "5")
    ranks: list[int] = []
    monkeypatch.setattr(launch, "run_rank", lambda run, **options: ranks.append(rank_of(os.environ)) or 0)  # type: ignore[func-returns-value]
    experiment = Experiment.from_dict({"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}})
    launch.launch(RunFolder.create(tmp_path, "x"), experiment, foreground=True)
    assert ranks == [0]
    assert not set(job_environment.RANK_VARIABLES) & os.environ.keys()


def test_rank_that_dies_at_once_does_not_leave_the_earlier_stop(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path, "x")
    write_state(run, "stopped", step=3, reason="warned of its time limit")
    rank = run.code / "hpc_dl" / "cluster" / "rank_process.py"
    rank.parent.mkdir(parents=True)
    for package in (rank.parent.parent, rank.parent):
        (package / "__init__.py").touch()
    rank.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    content = {"name": "x", "data": {"source": "digits"}, "model": {"name": "linear"}}
    status = launch.launch(run, Experiment.from_dict(content), foreground=False, in_process=False)
    state = read_state(run)
    assert (status, state["state"], state["reason"]) == (
        1,
        "failed",
        "rank 0 was killed by SIGKILL (often: out of memory)",
    )


@pytest.mark.slow
def test_two_ranks_train_together(desk: Desk) -> None:
    # Left over from another job; with them, the ranks would wait for peers that do not exist.
    desk.environment |= {"MASTER_ADDR": "192.0.2.1", "RANK": "5", "NODE_RANK": "3", "TORCHELASTIC_RUN_ID": "x"}
    desk.environment |= {"WORLD_SIZE": "64", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    outcome = desk.json("train", *TWO_RANKS)
    assert (outcome["state"], outcome["world_size"]) == ("finished", 2)
    run = desk.only_run()
    assert re.search(r"^=== .* rank 1 on ", run.log(1).read_text(), re.MULTILINE)
    assert "Finished after" in run.log(0).read_text()
    assert ranks_of(desk) == []


@pytest.mark.slow
def test_failing_rank_ends_the_other_and_is_reported(desk: Desk) -> None:
    started = time.monotonic()
    outcome = desk.json("train", *TWO_RANKS, *OWN, "model.args={fail_on_rank: 1, hang_on_rank: 0}", status=1)
    assert time.monotonic() - started < 240, "the other rank sleeps for ten minutes"
    assert (outcome["state"], outcome["rank"]) == ("failed", 1)
    statement = r'RuntimeError: deliberate, in \S+/own_model\.py line \d+: `raise RuntimeError\("deliberate"\)`'
    assert re.fullmatch(statement, outcome["reason"])
    assert "RuntimeError: deliberate" in desk.only_run().log(1).read_text()
    assert ranks_of(desk) == []


@pytest.mark.slow
def test_killed_rank_is_reported_by_the_launcher(desk: Desk) -> None:
    launcher = desk.start("train", *TWO_RANKS, *OWN, "model.args={hang_on_rank: 1}", "--json")
    wait_until(lambda: list(desk.runs.glob("*/logs/rank-1.log")), "rank 1 has started")
    run = desk.only_run()
    wait_until(lambda: "hangs" in run.log(1).read_text(), "rank 1 hangs")
    victim = re.search(r"process (\d+)", run.log(1).read_text())
    assert victim
    psutil.Process(int(victim[1])).kill()
    launcher.communicate(timeout=300)
    assert launcher.returncode == 1
    facts = desk.json("status", "latest")[0]
    assert (facts["state"], facts["rank"]) == ("failed", 1)
    assert "rank 1 was killed by SIGKILL" in facts["reason"]
    assert ranks_of(desk) == []


@pytest.mark.slow
def test_crash_of_own_code_is_one_line_with_its_statement(desk: Desk) -> None:
    result = desk.run("train", "tiny.yaml", *OWN, "model.args={crash: true}", status=1)
    run = desk.only_run()
    reason = rf"rank 0 crashed \(SIGABRT\): Aborted, in {desk.folder}/own_model\.py line \d+: `os\.abort\(\)`"
    last = [line for line in result.stderr.splitlines() if line.startswith("hpc-dl: the run")]
    assert re.fullmatch(f"hpc-dl: the run failed: {reason}", last[-1])
    assert "Current thread" not in result.stderr and "Current thread" in run.log(0).read_text()
    assert re.fullmatch(reason, desk.json("status", "latest")[0]["reason"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ranks", "sent", "status", "state"),
    [
        # Each signal alone is in tests/training/stopping/test_stop_signals.py.
        (1, [signal.SIGUSR1], 75, "stopped"),
        (2, [signal.SIGUSR2, signal.SIGINT], 75, "stopped"),
        (2, [signal.SIGINT, signal.SIGINT], 130, "cancelled"),
    ],
)
def test_signals_stop_the_training_with_a_checkpoint(
    desk: Desk, ranks: int, sent: list[signal.Signals], status: int, state: str
) -> None:
    slow = (
        "model.args={slow_until: never}",
        "trainer.limit_train_batches=1.0",
        "trainer.max_epochs=1000",
        "trainer.log_every_n_steps=1",
    )
    training = desk.start("train", "tiny.yaml", *OWN, *slow, f"resources.gpus_per_node={ranks}")
    wait_until(lambda: list(desk.runs.glob("*/logs/*")) or list(desk.runs.glob("*/journal/*")), "the run has started")
    run = desk.only_run()
    wait_until(lambda: read_journal(run.journal), "it trains")
    for number in sent:
        training.send_signal(number)
        time.sleep(0.06)  # the launcher polls every 0.05 s, and two equal signals at once count as one
    err = training.communicate(timeout=300)[1]
    assert training.returncode == status
    assert read_state(run)["state"] == state
    assert desk.json("status", run.name)[0]["state"] == state
    assert ranks_of(desk) == []
    if state == "stopped":
        assert run.last_checkpoint.exists()
        assert f"continue it with `hpc-dl resume {run.name}`" in err and "Traceback" not in err


@pytest.mark.slow
def test_several_nodes_require_slurm(desk: Desk) -> None:
    result = desk.run("train", "tiny.yaml", "resources.nodes=2", status=2)
    assert "several nodes can only be used inside a Slurm job" in result.stderr
    assert "Traceback" not in result.stderr
