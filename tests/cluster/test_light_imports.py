"""Commands and modules that start fast because they do not import torch."""

import subprocess
import sys

import pytest

from tests.conftest import PROJECT


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["results"], ["logs", "--help"], ["submit", "--help"], ["cancel", "--help"]],
    ids=" ".join,
)
def test_commands_do_not_import_torch(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory, arguments: list[str]
) -> None:
    monkeypatch.setenv("HPC_DL_RUNS", str(tmp_path_factory.mktemp("runs")))
    command = [sys.executable, "-m", "tests.cluster.command_without_torch", *arguments]
    subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, timeout=60)


def test_signal_lead_does_not_import_torch() -> None:
    text = "import sys, hpc_dl.cluster.signal_lead; assert not {'torch', 'submitit'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", text], cwd=PROJECT, check=True, timeout=60)
