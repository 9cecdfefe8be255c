"""Commands and modules that start fast because they do not import torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from tests.conftest import PROJECT

LIGHT = [
    ["status"],
    ["goodput"],
    ["efficiency"],
    ["results"],
    ["logs", "--help"],
    ["submit", "--help"],
    ["cancel", "--help"],
    ["data", "list"],
    ["site", "init", "--help"],
]
WRONG = [
    (["submit", "cnn-digits", "--site", "TYPO"], "site: is unknown"),
    (["validate", "cnn-digits", "--site", "TYPO"], "site: is unknown"),
    (["rehearse", "cnn-digits", "--site", "TYPO"], "site: is unknown"),
    (["site", "check", "TYPO"], "site: is unknown"),
    (["submit", "cnn-digit"], "cnn-digit: does not exist"),
    (["train", "missing.yaml"], "missing.yaml: does not exist"),
    (["baseline", "cnn-digits", "seed"], "seed: is not an override"),
    *[
        ([command, "nothing", *options], "nothing: no such run")
        for command, *options in (
            ["resume"],
            ["evaluate"],
            ["predict", "x.h5", "--out", "y.h5"],
            ["export", "--out", "y.onnx"],
            ["figures"],
            ["logs"],
            ["cancel"],
            ["status"],
            ["results"],
        )
    ],
    (["resume", "latest"], "data.h5: does not exist anymore, but tiny"),
    (["evaluate", "latest"], "has no weights yet"),
]


def outputs(cases: list[tuple[list[str], int]]) -> list[str]:
    """Run hpc-dl for each of these arguments and expected exit statuses, without torch."""
    command = [sys.executable, "-m", "tests.cluster.command_without_torch"]
    result = subprocess.run(command, cwd=PROJECT, input=json.dumps(cases), capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    answers: list[str] = json.loads(result.stdout)
    return answers


@pytest.mark.slow
def test_commands_do_not_import_torch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPC_DL_RUNS", str(tmp_path))
    assert all(outputs([(arguments, 0) for arguments in LIGHT]))


@pytest.mark.slow
def test_wrong_arguments_are_reported_before_torch_is_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HPC_DL_RUNS", str(tmp_path))
    RunFolder.create(tmp_path, "tiny").config.write_text("data: {file: /nowhere/data.h5}\n")
    answers = outputs([(arguments, 2) for arguments, _ in WRONG])
    for (arguments, message), answer in zip(WRONG, answers, strict=True):
        assert message in answer, (arguments, answer)


def test_signal_lead_does_not_import_torch() -> None:
    text = "import sys, hpc_dl.cluster.signal_lead; assert not {'torch', 'submitit'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", text], cwd=PROJECT, check=True, timeout=60)
