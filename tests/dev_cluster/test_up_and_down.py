"""`cluster up` and `cluster down`: starting, repairing, refusing and stopping whole clusters."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.dev_cluster.conftest import COMMAND, HOSTS, Cluster, wait_until

pytestmark = pytest.mark.slurm


def test_up_again_changes_nothing(shared: Cluster) -> None:
    before = shared.pids()
    assert {"munged", "mariadbd", "slurmdbd", "slurmctld"} < before.keys()
    assert "all was up already" in shared.run("up")
    assert shared.pids() == before


def test_two_clusters_side_by_side(shared: Cluster, second: Cluster) -> None:
    first_pids, second_pids = shared.pids(), second.pids()
    assert not set(first_pids.values()) & set(second_pids.values())
    assert not set(shared.nodes()) & set(second.nodes())
    name = ["srun", "-Q", "--mem=100M", "printenv", "SLURMD_NODENAME"]
    assert shared.slurm(*name) in shared.nodes()
    assert second.slurm(*name) in second.nodes()
    hosts = HOSTS.read_text()
    for one in (shared, second):
        assert f"127.0.0.1 {' '.join(one.nodes())}" in hosts
    second.run("down")
    assert second.pids() == {}
    assert shared.pids() == first_pids
    assert shared.slurm(*name) in shared.nodes()
    second.run("up")


@pytest.mark.parametrize("daemon", ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd"])
def test_up_repairs_a_killed_daemon(second: Cluster, daemon: str) -> None:
    before = second.pids()
    name = next(known for known in before if known.startswith(daemon))
    os.kill(before[name], signal.SIGKILL)
    wait_until(lambda: name not in second.pids(), f"{name} has ended")
    assert "not all is up" in second.run("status", status=3)
    assert f"{name} started" in second.run("up")
    after = second.pids()
    assert after.pop(name) != before.pop(name)
    assert after == before, "the other daemons keep running"
    second.slurm("srun", "-Q", "--nodes=2", "--mem=100M", "true")
    if daemon == "slurmctld":
        # It saves its state every few seconds only, so it may now believe in a job that ended just
        # before.
        second.run("down")
        second.run("up")


def test_up_resumes_a_drained_node(second: Cluster) -> None:
    node = second.nodes()[0]
    second.slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=trying")
    assert "trying" in second.run("status", status=3)
    assert f"node {node} is idle+drain (trying" in second.run("up")
    second.run("status")


def test_up_does_not_change_a_running_cluster(second: Cluster) -> None:
    before = second.pids()
    message = second.run("up", "--gpus", "7", status=2)
    assert "other settings (gpus)" in message
    assert "down` first" in message
    configuration = second.folder / "slurm.conf"
    text = configuration.read_text()
    configuration.write_text(text + "# as an older version of the command wrote it\n")
    assert "another version of this command" in second.run("up")
    assert second.pids() == before
    configuration.write_text(text)
    assert "another version" not in second.run("up")


def test_up_reports_an_invalid_setting_before_starting_a_daemon(state_folders: Path) -> None:
    faulty = Cluster(state_folders / "faulty")
    try:
        message = faulty.run("up", "--set", "KillWait=soon", status=2)
        assert 'KillWait value "soon" is not a valid number' in message
        assert faulty.pids() == {}
        assert str(faulty.folder) not in HOSTS.read_text()
    finally:
        faulty.run("down", "--purge")
    assert not faulty.folder.exists()


def test_up_shows_the_log_of_a_daemon_that_cannot_start(state_folders: Path) -> None:
    broken = Cluster(state_folders / "broken")
    try:
        message = broken.run("up", "--prefix", f"w{os.getpid()}x", "--set", "SchedulerType=sched/none-such", status=1)
        assert "slurmctld has ended" in message
        assert "sched/none-such" in message
        assert {"munged", "slurmdbd"} <= broken.pids().keys()
        assert "not all is up" in broken.run("status", status=3)
    finally:
        broken.run("down", "--purge")
    assert not broken.folder.exists()


def test_down_stops_only_its_own_processes(state_folders: Path) -> None:
    hosts = HOSTS.read_text()
    with tempfile.TemporaryDirectory(dir=state_folders) as name:
        third = Cluster(Path(name) / "third")
        bystander = subprocess.Popen(["sleep", "600"])
        try:
            third.run("up", "--nodes", "1", "--prefix", f"v{os.getpid()}x")
            assert HOSTS.read_text() != hosts
            # Two stale records: the pids now belong to another process.
            pids = third.pids()
            stat = Path(f"/proc/{bystander.pid}/stat").read_text().rpartition(")")[2].split()
            for daemon, start in (("munged", 1), (next(n for n in pids if n.startswith("slurmd-")), int(stat[19]))):
                record = third.folder / "run" / f"{daemon}.json"
                record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": bystander.pid, "start": start}))
            job = third.submit("sleep 600")
            wait_until(lambda: third.state(job) == "RUNNING", "the job runs")
            assert set(pids.values()) < third.processes()
            third.run("down")
            assert bystander.poll() is None
            wait_until(lambda: third.processes() == set(), "all processes have ended", 10)
            line = f"dev-cluster {third.folder}\n"
            wait_until(lambda: line not in HOSTS.read_text(), "its line in /etc/hosts is removed")
            assert "(0 daemons stopped)" in third.run("down")
            foreign = third.folder / "a-file-of-the-user"
            foreign.touch()
            third.run("down", "--purge")
            assert [path.name for path in third.folder.iterdir()] == [foreign.name]
        finally:
            bystander.kill()
            bystander.wait()
            third.run("down", "--purge")


@pytest.mark.parametrize(
    "path",
    ["relative", "/tmp/" + "x" * 80, "/tmp/with a blank", "/etc"],
    ids=["relative", "too long", "with a blank", "not empty"],
)
def test_up_refuses_an_unusable_state_folder(slurm_cluster: dict[str, str], path: str) -> None:
    done = subprocess.run(
        [sys.executable, str(COMMAND), "up"],
        env=os.environ | {"HPC_DL_DEV_CLUSTER": path},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("cluster: error: ")
    assert done.stderr.count("\n") == 1
