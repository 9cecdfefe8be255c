"""Commands and modules that start fast because they do not import torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
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
    without_torch(0, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["submit", "cnn-digits", "--site", "TYPO"], "site: is unknown"),
        (["validate", "cnn-digits", "--site", "TYPO"], "site: is unknown"),
        (["rehearse", "cnn-digits", "--site", "TYPO"], "site: is unknown"),
        (["submit", "cnn-digit"], "cnn-digit: does not exist"),
        (["train", "missing.yaml"], "missing.yaml: does not exist"),
        (["baseline", "cnn-digits", "seed"], "seed: is not an override"),
        (["resume", "latest"], "latest: no such run"),
        (["evaluate", "latest"], "latest: no such run"),
        (["predict", "latest", "x.h5", "--out", "y.h5"], "latest: no such run"),
        (["export", "latest", "--out", "y.onnx"], "latest: no such run"),
        (["resume", "RUN"], "data.h5: does not exist anymore"),
        (["evaluate", "RUN"], "has no weights yet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_arguments_are_reported_before_torch_is_imported(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], message: str
) -> None:
    monkeypatch.setenv("HPC_DL_RUNS", str(tmp_path))
    if "RUN" in arguments:
        run = RunFolder.create(tmp_path, "tiny")
        run.config.write_text("data: {file: /nowhere/data.h5}\n")
        arguments = [run.name if argument == "RUN" else argument for argument in arguments]
    assert message in without_torch(2, *arguments)


def without_torch(status: int, *arguments: str) -> str:
    """Run hpc-dl, check its exit status and that it does not import torch; return its messages."""
    command = [sys.executable, "-m", "tests.cluster.command_without_torch", str(status), *arguments]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_signal_lead_does_not_import_torch() -> None:
    text = "import sys, hpc_dl.cluster.signal_lead; assert not {'torch', 'submitit'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", text], cwd=PROJECT, check=True, timeout=60)
