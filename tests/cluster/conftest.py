"""A user's working folder for the tests: configs, data, runs, and the command ``hpc-dl``."""

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

from hpc_dl.cli.main import main
from hpc_dl.cluster import sbatch_options, slurm
from hpc_dl.data import sources
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.search import all_runs
from tests.child_processes import start
from tests.conftest import PROJECT

FOLDER = Path(__file__).parent
IN_THIS_PROCESS = ("cancel", "chain", "doctor", "resume", "results", "status", "submit", "sweep")


@dataclass
class Desk:
    """A user's working folder and shell.

    Attributes:
        folder: the current folder.
        environment: the shell's environment variables.
        output: of this process.
        background: the commands started so far.
    """

    folder: Path
    environment: dict[str, str]
    output: pytest.CaptureFixture[str]
    background: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start ``hpc-dl ARGUMENTS`` without waiting for it."""
        defaults = {"cwd": self.folder, "env": self.environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = start(["hpc-dl", *arguments], **{**defaults, **options})
        self.background.append(process)
        return process

    def run(self, *arguments: str, status: int = 0, timeout_s: float = 360) -> subprocess.CompletedProcess[str]:
        """Run ``hpc-dl ARGUMENTS`` and check its exit status.

        What neither trains nor waits runs in this process, which has imported torch already.
        """
        if arguments[0] in IN_THIS_PROCESS and "--wait" not in arguments:
            result = self._run_here(*arguments)
        else:
            options: Any = {"cwd": self.folder, "env": self.environment, "capture_output": True, "text": True}
            result = subprocess.run(["hpc-dl", *arguments], timeout=timeout_s, **options)
        output = f"{result.stdout}\n{result.stderr}"
        assert result.returncode == status, f"{arguments}: status {result.returncode}\n{output}"
        return result

    def _run_here(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        slurm.local_cluster.cache_clear()  # each desk has another Slurm, or none
        sbatch_options._options_of_this_sbatch.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ.keys() - self.environment.keys():
                patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            patch.setattr(sys, "path", [str(self.folder), *sys.path])
            patch.setattr(sys, "argv", ["hpc-dl", *arguments])
            self.output.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        for file in self.folder.glob("*.py"):
            sys.modules.pop(file.stem, None)  # another desk has its own
        out, err = self.output.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), out, err)

    def json(self, *arguments: str, status: int = 0) -> Any:
        """Run ``hpc-dl ARGUMENTS --json`` and return its JSON document."""
        return json.loads(self.run(*arguments, "--json", status=status).stdout)

    def only_run(self) -> RunFolder:
        (run,) = all_runs(self.runs)
        return run


def wait_until(condition: Callable[[], object], event: str, timeout_s: float = 120) -> None:
    """Poll until a condition is true; fail after three times the timeout of a quiet machine.

    A condition that takes long, such as a command, is evaluated for a quarter of the time only.
    """
    start = time.monotonic()
    deadline = start + 3 * timeout_s
    while not condition():
        now = time.monotonic()
        assert now < deadline, f"not within {timeout_s:g} s: {event}"
        time.sleep(min(2.0, max(0.1, 3 * (now - start))))
        start = time.monotonic()


@pytest.fixture(scope="session")
def digits_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set digits, created once."""
    folder = tmp_path_factory.mktemp("data")
    sources.ensure("digits", folder)
    return folder


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the command ``hpc-dl`` of the code under test, installed or not."""
    folder = tmp_path_factory.mktemp("command")
    path = folder / "hpc-dl"
    path.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "from hpc_dl.cli.main import main; main()" "$@"\n', encoding="utf-8"
    )
    path.chmod(0o755)
    return folder


@pytest.fixture
def desk(tmp_path: Path, digits_folder: Path, command: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Desk]:
    """A working folder on a machine without Slurm."""
    programs = tmp_path / "bin"
    programs.mkdir()
    # Slurm's commands are not on this PATH.
    shutil.copy(command / "hpc-dl", programs)
    for program in ("sh", "bash", "env", "git", "uname", "hostname", "cat"):
        if path := shutil.which(program):
            (programs / program).symlink_to(path)
    work = tmp_path / "work"
    work.mkdir()
    for name in ("tiny.yaml", "own_model.py", "forgetful_model.py"):
        shutil.copy(FOLDER / name, work)
    hidden = ("SLURM_", "SBATCH_", "HPC_DL_", "WANDB_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | {
        "PATH": str(programs),
        "PYTHONPATH": str(PROJECT),
        "HPC_DL_DATA": str(digits_folder),
        "COLUMNS": "200",
    }
    desk = Desk(work, environment, capfd)
    yield desk
    for process in desk.background:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def slurm_desk(desk: Desk, slurm_cluster: dict[str, str]) -> Desk:
    """A working folder on a machine with Slurm."""
    desk.environment |= slurm_cluster
    desk.environment["PATH"] += os.pathsep + os.environ["PATH"]
    return desk
