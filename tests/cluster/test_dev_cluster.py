"""The development cluster itself: `slurm/dev-cluster/cluster`.

What does harm is tried on a second cluster, which also shows that two live side by side.
"""

import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slurm

SCRIPT = Path(__file__).parents[2] / "slurm" / "dev-cluster" / "cluster"
HOSTS = Path("/etc/hosts")


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)


@dataclass
class Cluster:
    """One development cluster, by its state folder."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return inherited | {"HPC_DL_DEV_CLUSTER": str(self.folder), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *words: str, status: int = 0, timeout_s: float = 120) -> str:
        """Run `cluster WORDS`, check its exit status; returns what it printed."""
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *words],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def slurm(self, *words: str, timeout_s: float = 60) -> str:
        """Run one of Slurm's commands on this cluster."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=timeout_s)
        assert done.returncode == 0, f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Submit a batch job that keeps no output; returns its number."""
        return self.slurm("sbatch", "--parsable", "--output=/dev/null", "--mem=100M", *options, "--wrap", script)

    def state(self, job: str) -> str:
        return self.slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def accounted(self, job: str) -> list[str]:
        """Return the states of a job in the accounting, one for each time that it was started."""
        return self.slurm("sacct", "-X", "-D", "-n", "-P", "-j", job, "-o", "State").split("\n")

    def pids(self) -> dict[str, int]:
        """Return the daemons that run."""
        told = subprocess.run(
            [sys.executable, str(SCRIPT), "status"], env=self.environment, capture_output=True, text=True, timeout=60
        ).stdout
        return {name: int(pid) for name, pid in re.findall(r"^(\S+) +pid (\d+)$", told, re.MULTILINE)}

    def processes(self) -> set[int]:
        """Return every live process that was started for this cluster: daemons, jobs."""
        found = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"SLURM_CONF={self.folder}/slurm.conf".encode() in environment:
                found.add(int(folder.name))
        return found


@pytest.fixture
def cluster(slurm_cluster: dict[str, str]) -> Cluster:
    """The cluster that all tests share; nothing here may harm it."""
    return Cluster(Path(slurm_cluster["SLURM_CONF"]).parent)


@pytest.fixture(scope="module")
def folder(slurm_cluster: dict[str, str]) -> Iterator[Path]:
    """A folder for state folders: short, as sockets live there."""
    with tempfile.TemporaryDirectory(prefix="hpcdl-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def second(folder: Path) -> Iterator[Cluster]:
    """Another cluster beside the shared one, to be treated badly."""
    made = Cluster(folder / "second")
    try:
        made.run("up", "--prefix", f"u{os.getpid()}x", "--requeue-delay", "5", "--set", "KillWait=5")
        yield made
    finally:
        made.run("down", "--purge")


def nodes_of(cluster: Cluster) -> list[str]:
    return sorted(set(cluster.slurm("sinfo", "-h", "-N", "-o", "%N").split()))


def test_nodes_take_jobs(cluster: Cluster) -> None:
    states = dict(line.split() for line in cluster.slurm("sinfo", "-h", "-N", "-p", "main", "-o", "%N %T").split("\n"))
    assert len(states) >= 2
    assert set(states.values()) <= {"idle", "mixed", "allocated", "completing"}
    assert "all is up" in cluster.run("status")


def test_two_nodes_with_two_tasks_and_gpus(cluster: Cluster) -> None:
    command = "echo $SLURM_PROCID $SLURM_LOCALID $SLURMD_NODENAME $CUDA_VISIBLE_DEVICES"
    options = ["--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--mem=100M"]
    tasks = sorted(line.split() for line in cluster.slurm("srun", "-Q", *options, "sh", "-c", command).split("\n"))
    assert [task[0] for task in tasks] == ["0", "1", "2", "3"]
    assert [task[1] for task in tasks] == ["0", "1", "0", "1"]
    first, last = tasks[0][2], tasks[3][2]
    assert first != last
    assert [task[2] for task in tasks] == [first, first, last, last]
    assert all(len(set(task[3].split(","))) == 2 for task in tasks), "two GPUs each, by number"


def test_the_accounting_knows_how_a_job_ended(cluster: Cluster) -> None:
    good, bad = cluster.submit("exit 0"), cluster.submit("exit 3")
    wait_until(lambda: (cluster.state(good), cluster.state(bad)) == ("COMPLETED", "FAILED"), "both jobs end")
    wait_until(lambda: cluster.accounted(good) == ["COMPLETED"], "sacct tells of the good job", 5)
    wait_until(lambda: cluster.accounted(bad) == ["FAILED"], "sacct tells of the bad job", 5)
    assert cluster.slurm("sacct", "-X", "-n", "-P", "-j", bad, "-o", "ExitCode") == "3:0"


def test_up_again_changes_nothing(cluster: Cluster) -> None:
    before = cluster.pids()
    assert {"munged", "mariadbd", "slurmdbd", "slurmctld"} < before.keys()
    assert "all was up already" in cluster.run("up")
    assert cluster.pids() == before


def test_two_clusters_side_by_side(cluster: Cluster, second: Cluster) -> None:
    ours, theirs = cluster.pids(), second.pids()
    assert not set(ours.values()) & set(theirs.values())
    assert not set(nodes_of(cluster)) & set(nodes_of(second))
    name = ["srun", "-Q", "--mem=100M", "printenv", "SLURMD_NODENAME"]
    assert cluster.slurm(*name) in nodes_of(cluster)
    assert second.slurm(*name) in nodes_of(second)
    hosts = HOSTS.read_text()
    for one in (cluster, second):
        assert f"127.0.0.1 {' '.join(nodes_of(one))}" in hosts
    second.run("down")
    assert second.pids() == {}
    assert cluster.pids() == ours
    assert cluster.slurm(*name) in nodes_of(cluster)
    second.run("up")


@pytest.mark.parametrize("daemon", ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd"])
def test_up_repairs_a_killed_daemon(second: Cluster, daemon: str) -> None:
    before = second.pids()
    name = next(known for known in before if known.startswith(daemon))
    os.kill(before[name], signal.SIGKILL)
    wait_until(lambda: name not in second.pids(), f"{name} is gone")
    assert "not all is up" in second.run("status", status=3)
    assert f"{name} started" in second.run("up")
    after = second.pids()
    assert after.pop(name) != before.pop(name)
    assert after == before, "the others were left alone"
    second.slurm("srun", "-Q", "--nodes=2", "--mem=100M", "true")
    if daemon == "slurmctld":
        # It saves its state every few seconds only, so it may now believe in a job that ended just
        # before.
        second.run("down")
        second.run("up")


def test_up_resumes_a_drained_node(second: Cluster) -> None:
    node = nodes_of(second)[0]
    second.slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=trying")
    assert "trying" in second.run("status", status=3)
    assert f"node {node} is idle+drain (trying" in second.run("up")
    second.run("status")


def test_a_requeued_job_starts_again_soon(second: Cluster) -> None:
    job = second.submit("sleep 600")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs")
    second.slurm("scontrol", "requeue", job)
    wait_until(lambda: second.state(job) == "PENDING", "the job is requeued")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs again", 20)
    second.slurm("scancel", job)


@pytest.mark.slow
def test_a_preempted_job_is_requeued(second: Cluster) -> None:
    low = second.submit("sleep 600", "--partition=preemptible", "--nodes=2", "--exclusive")
    wait_until(lambda: second.state(low) == "RUNNING", "the preemptible job runs")
    high = second.submit("true", "--partition=main", "--nodes=2", "--exclusive")
    wait_until(lambda: second.state(high) == "COMPLETED", "the other takes its place")
    wait_until(lambda: second.state(low) == "RUNNING", "the preemptible job runs again", 40)
    wait_until(lambda: second.accounted(low) == ["PREEMPTED", "RUNNING"], "sacct tells of both")
    second.slurm("scancel", low)


@pytest.mark.slow
def test_a_node_without_power_loses_its_jobs(second: Cluster) -> None:
    node = nodes_of(second)[1]
    job = second.submit("srun sleep 611", "--nodes=2")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs")
    sleepers = ["pgrep", "-f", "^(/[a-z/]+/)?sleep 611$"]
    wait_until(lambda: len(subprocess.run(sleepers, capture_output=True).stdout.split()) == 2, "both tasks run")
    before = second.pids()
    assert "slurmd killed" in second.run("node", node, "down")
    after = second.pids()
    assert before.keys() - after.keys() == {f"slurmd-{node}"}
    assert len(subprocess.run(sleepers, capture_output=True).stdout.split()) <= 1, "the node's task died with it"
    second.run("node", node, "up")
    wait_until(lambda: second.accounted(job)[0] == "NODE_FAIL", "sacct tells of the failure")
    wait_until(lambda: second.state(job) == "RUNNING", "the job runs again", 40)
    second.slurm("scancel", job)


def test_a_running_cluster_keeps_its_settings(second: Cluster) -> None:
    before = second.pids()
    told = second.run("up", "--gpus", "7", status=2)
    assert "other settings (gpus)" in told
    assert "down` first" in told
    configuration = second.folder / "slurm.conf"
    text = configuration.read_text()
    configuration.write_text(text + "# as an older version of the script wrote it\n")
    assert "another version" in second.run("up")
    assert second.pids() == before
    configuration.write_text(text)
    assert "another version" not in second.run("up")


def test_a_faulty_setting_is_told_at_once(folder: Path) -> None:
    faulty = Cluster(folder / "faulty")
    try:
        told = faulty.run("up", "--set", "KillWait=soon", status=2)
        assert 'KillWait value "soon" is not a valid number' in told
        assert faulty.pids() == {}
        assert str(faulty.folder) not in HOSTS.read_text()
    finally:
        faulty.run("down", "--purge")
    assert not faulty.folder.exists()


def test_a_daemon_that_cannot_start_is_told_with_its_log(folder: Path) -> None:
    broken = Cluster(folder / "broken")
    try:
        told = broken.run("up", "--prefix", f"w{os.getpid()}x", "--set", "SchedulerType=sched/none-such", status=1)
        assert "slurmctld has ended" in told
        assert "sched/none-such" in told
        assert {"munged", "slurmdbd"} <= broken.pids().keys()
        assert "not all is up" in broken.run("status", status=3)
    finally:
        broken.run("down", "--purge")
    assert not broken.folder.exists()


def test_down_stops_all_of_its_own_and_nothing_else(folder: Path) -> None:
    hosts = HOSTS.read_text()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        third = Cluster(Path(name) / "third")
        bystander = subprocess.Popen(["sleep", "600"])
        try:
            third.run("up", "--nodes", "1", "--prefix", f"v{os.getpid()}x")
            assert HOSTS.read_text() != hosts
            # Two stale records: the pids now belong to somebody else.
            own = third.pids()
            stat = Path(f"/proc/{bystander.pid}/stat").read_text().rpartition(")")[2].split()
            for daemon, start in (("munged", 1), (next(n for n in own if n.startswith("slurmd-")), int(stat[19]))):
                record = third.folder / "run" / f"{daemon}.json"
                record.write_text(json.dumps(json.loads(record.read_text()) | {"pid": bystander.pid, "start": start}))
            job = third.submit("sleep 600")
            wait_until(lambda: third.state(job) == "RUNNING", "the job runs")
            assert set(own.values()) < third.processes()
            third.run("down")
            assert bystander.poll() is None
            wait_until(lambda: third.processes() == set(), "all processes are gone", 10)
            wait_until(lambda: f"dev-cluster {third.folder}\n" not in HOSTS.read_text(), "the line in /etc/hosts goes")
            assert "(0 daemons stopped)" in third.run("down")
            note = third.folder / "a-file-of-somebody"
            note.touch()
            third.run("down", "--purge")
            assert [path.name for path in third.folder.iterdir()] == [note.name]
        finally:
            bystander.kill()
            bystander.wait()
            third.run("down", "--purge")


@pytest.mark.parametrize("where", ["relative", "/tmp/" + "x" * 80, "/tmp/with a blank", "/etc"])
def test_a_state_folder_that_cannot_be(slurm_cluster: dict[str, str], where: str) -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "up"],
        env=os.environ | {"HPC_DL_DEV_CLUSTER": where},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("cluster: error: ")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The script as a module, with another /etc/hosts."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    loader = importlib.machinery.SourceFileLoader("dev_cluster_script", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, loader.name, module)
    loader.exec_module(module)
    monkeypatch.setattr(module, "HOSTS_FILE", tmp_path / "hosts")
    return module


@pytest.mark.parametrize("before", ["127.0.0.1 localhost\n", "127.0.0.1\tlocalhost n1\n# n2\n10.0.0.1 n22", ""])
def test_hosts_is_restored_to_the_byte(script: Any, tmp_path: Path, before: str) -> None:
    script.HOSTS_FILE.write_text(before)
    script.HOSTS_FILE.chmod(0o640)
    one, other = (script.Cluster(tmp_path / name) for name in ("one", "one-more"))
    for cluster in (one, other, one):
        cluster.edit_hosts(wanted=True)
    lines = script.HOSTS_FILE.read_text().splitlines()
    assert lines[: len(before.splitlines())] == before.splitlines()
    added = [line.partition(" # ")[0].split()[:3] for line in lines[len(before.splitlines()) :]]
    assert added == [["127.0.0.1", "n1", "n2"]] * 2
    one.edit_hosts(wanted=False)
    assert script.HOSTS_FILE.read_text().count("127.0.0.1 n1 n2") == 1, "the other cluster's line stays"
    other.edit_hosts(wanted=False)
    assert script.HOSTS_FILE.read_text().rstrip("\n") == before.rstrip("\n")
    assert script.HOSTS_FILE.stat().st_mode & 0o777 == 0o640
    assert list(tmp_path.iterdir()) == [script.HOSTS_FILE], "no temporary file is left"


def test_a_name_of_another_machine_is_not_taken(script: Any, tmp_path: Path) -> None:
    text = "127.0.0.1 localhost\n10.0.0.7 storage n2\n"
    script.HOSTS_FILE.write_text(text)
    with pytest.raises(script.Fault, match=r"gives the name n2 to 10\.0\.0\.7: choose other node names"):
        script.Cluster(tmp_path / "one").edit_hosts(wanted=True)
    assert script.HOSTS_FILE.read_text() == text
