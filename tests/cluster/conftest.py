"""A folder to work in, as a user would: configs, data, runs, and the command."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.data import sources
from hpc_dl.runs.folder import RunFolder
from tests.conftest import PROJECT

# Seconds on one core; every test that trains names its own resources.
_TINY = """
name: tiny
data: {source: digits, batch_size: 32}
model: {name: linear}
trainer: {max_epochs: 1, limit_train_batches: 4, limit_val_batches: 1, limit_test_batches: 1, accelerator: cpu}
resources: {nodes: 1, gpus_per_node: 1, cpus_per_gpu: 1, memory: 1500M, time: 5}
wandb: {mode: disabled}
"""


@dataclass
class Desk:
    """A user's folder and shell.

    Attributes:
        folder: the current folder.
        environment: of the shell.
    """

    folder: Path
    environment: dict[str, str]
    background: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def start(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``hpc-dl WORDS`` and do not wait for it."""
        process = subprocess.Popen(
            ["hpc-dl", *words],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        self.background.append(process)
        return process

    def run(self, *words: str, status: int = 0, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
        """Run ``hpc-dl WORDS`` and check its exit status."""
        done = subprocess.run(
            ["hpc-dl", *words], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout_s
        )
        assert done.returncode == status, f"{words}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.run(*words, "--json", status=status).stdout)

    def only_run(self) -> RunFolder:
        (folder,) = self.runs.iterdir()
        return RunFolder(folder)


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    """Poll, within bounds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.1)


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the digits, made once."""
    folder = tmp_path_factory.mktemp("data")
    sources.ensure("digits", folder)
    return folder


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command of the code under test, whether or not it is installed."""
    folder = tmp_path_factory.mktemp("command")
    path = folder / "hpc-dl"
    path.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from hpc_dl.cli.main import main; main()" "$@"\n', encoding="utf-8"
    )
    path.chmod(0o755)
    return folder


@pytest.fixture
def desk(tmp_path: Path, digits_folder: Path, command: Path) -> Iterator[Desk]:
    """A user's folder on a machine without Slurm."""
    programs = tmp_path / "bin"
    programs.mkdir()
    # Slurm's commands are hidden.
    shutil.copy(command / "hpc-dl", programs)
    for program in ("sh", "bash", "env", "git", "uname", "hostname", "cat"):
        if found := shutil.which(program):
            (programs / program).symlink_to(found)
    work = tmp_path / "work"
    work.mkdir()
    (work / "tiny.yaml").write_text(_TINY, encoding="utf-8")
    shutil.copy(Path(__file__).parent / "own_model.py", work)
    hidden = ("SLURM_", "SBATCH_", "HPC_DL_", "WANDB_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | {
        "PATH": str(programs),
        "PYTHONPATH": str(PROJECT),
        "HPC_DL_DATA": str(digits_folder),
        "COLUMNS": "200",
    }
    made = Desk(work, environment)
    yield made
    for process in made.background:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def slurm_desk(desk: Desk, slurm_cluster: dict[str, str]) -> Desk:
    """A user's folder on a machine with Slurm."""
    desk.environment |= slurm_cluster
    desk.environment["PATH"] += os.pathsep + os.environ["PATH"]
    return desk
