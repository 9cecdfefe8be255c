"""The command under test, run on the shared development cluster and on throw-away ones."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMAND = Path(__file__).parents[2] / "slurm" / "dev-cluster" / "cluster"
HOSTS = Path("/etc/hosts")


def wait_until(condition: Callable[[], object], goal: str, timeout_s: float = 30) -> None:
    deadline = time.monotonic() + 3 * timeout_s  # for a busy machine
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {goal}"
        time.sleep(0.1)


@dataclass
class Cluster:
    """One development cluster, by its state folder."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        return inherited | {"HPC_DL_DEV_CLUSTER": str(self.folder), "SLURM_CONF": str(self.folder / "slurm.conf")}

    def run(self, *arguments: str, status: int = 0, timeout_s: float = 120) -> str:
        """Run `cluster ARGUMENTS`, check its exit status, return its output."""
        done = subprocess.run(
            [sys.executable, str(COMMAND), *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert done.returncode == status, f"{arguments}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def slurm(self, *argv: str, timeout_s: float = 60) -> str:
        """Run one of Slurm's commands on this cluster."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=timeout_s)
        assert done.returncode == 0, f"{argv}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def submit(self, script: str, *options: str) -> str:
        """Submit a batch job that keeps no output; return its id."""
        return self.slurm("sbatch", "--parsable", "--output=/dev/null", "--mem=100M", *options, "--wrap", script)

    def state(self, job: str) -> str:
        return self.slurm("squeue", "--noheader", "--states=all", f"--jobs={job}", "--format=%T")

    def accounted_states(self, job: str) -> list[str]:
        """Return the states of a job in the accounting, one for each of its starts."""
        return self.slurm("sacct", "-X", "-D", "-n", "-P", "-j", job, "-o", "State").split("\n")

    def nodes(self) -> list[str]:
        return sorted(set(self.slurm("sinfo", "-h", "-N", "-o", "%N").split()))

    def pids(self) -> dict[str, int]:
        """Return the process id of each running daemon."""
        status = subprocess.run(
            [sys.executable, str(COMMAND), "status"], env=self.environment, capture_output=True, text=True, timeout=60
        ).stdout
        return {name: int(pid) for name, pid in re.findall(r"^(\S+) +pid (\d+)$", status, re.MULTILINE)}

    def processes(self) -> set[int]:
        """Return every live process of this cluster, daemons and jobs."""
        pids = set()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                environment = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if f"SLURM_CONF={self.folder}/slurm.conf".encode() in environment:
                pids.add(int(folder.name))
        return pids


@pytest.fixture
def shared(slurm_cluster: dict[str, str]) -> Cluster:
    """The cluster that all tests use; no test may harm it."""
    return Cluster(Path(slurm_cluster["SLURM_CONF"]).parent)


@pytest.fixture(scope="session")
def state_folders(slurm_cluster: dict[str, str]) -> Iterator[Path]:
    """A folder for state folders, with a short path because sockets are in them."""
    with tempfile.TemporaryDirectory(prefix="hpcdl-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def second(state_folders: Path) -> Iterator[Cluster]:
    """Another cluster next to the shared one, whose daemons the tests may kill."""
    cluster = Cluster(state_folders / "second")
    try:
        cluster.run("up", "--prefix", f"u{os.getpid()}x", "--requeue-delay", "5", "--set", "KillWait=5")
        yield cluster
    finally:
        cluster.run("down", "--purge")
