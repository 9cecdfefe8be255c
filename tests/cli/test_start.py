"""What all commands have in common: fast and complete help, completion, one line for a mistake."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hpc_dl as package
from hpc_dl import models
from hpc_dl.cli.main import COMMANDS
from tests.cli.conftest import HpcDl

PROJECT = Path(__file__).parents[2]
HEAVY = ["torch", "pytorch_lightning", "h5py", "wandb", "numpy", "submitit", "torchmetrics", "pydantic", "ruamel"]


@functools.cache
def help_of_all_commands(columns: int) -> dict[str, Any]:
    completed = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("help_of_all_commands.py")), json.dumps(HEAVY)],
        capture_output=True, text=True, cwd=PROJECT, check=True,
        env=os.environ | {"COLUMNS": str(columns), "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    report: dict[str, Any] = json.loads(completed.stdout)
    return report


@pytest.mark.slow
def test_help_imports_nothing_heavy() -> None:
    report = help_of_all_commands(80)
    assert {row["status"] for row in report.values()} == {0}
    assert report["--help"]["imported"] == [], "the first command"
    heavy = {command: set(row["imported"]) - {"pydantic", "ruamel"} for command, row in report.items()}
    assert {command: names for command, names in heavy.items() if names} == {}
    for name in ("train", "validate", "status", "results"):
        assert "--json" in report[f"{name} --help"]["text"]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [80, 120])
def test_help_is_grouped_and_fits(columns: int) -> None:
    report = help_of_all_commands(columns)
    overview = report["--help"]["text"]
    for panel, commands in COMMANDS.items():
        assert f"\n{panel}:\n" in overview
        for name in commands:
            assert f"\n  {name}" in overview
    sections = overview.partition("\nOptions:\n")[2].split("\n\n")
    assert len(sections) == 2 + len(COMMANDS) + 1, "options, panels, examples, completion"
    for section in sections[1 : 1 + len(COMMANDS)]:
        assert all(line[2] != " " for line in section.splitlines()[1:]), f"a summary needs two lines: {section}"
    assert overview.count("\n    hpc-dl ") == 2, "two examples"
    for command, row in report.items():
        if not command.startswith("models"):
            assert all(len(line) <= columns for line in row["text"].splitlines()), command
        if command.endswith("--help") and not command.startswith("data"):
            assert "Example" in row["text"], command


def test_summaries_are_complete_in_a_narrow_terminal(hpc_dl: HpcDl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    overview = hpc_dl("--help").out.partition("\nOptions:\n")[2]
    assert "..." not in overview
    assert "Compute a run's metrics and confusion matrix" in overview


def test_version(hpc_dl: HpcDl) -> None:
    assert hpc_dl("--version") == (0, f"hpc_dl {package.__version__}\n", "")


def test_no_arguments_show_the_help(hpc_dl: HpcDl) -> None:
    status, out, err = hpc_dl()
    assert (status, out) == (2, "")
    assert err == hpc_dl("--help").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "none.yaml"], "none.yaml: does not exist"),
        (["validate", "."], ".: is a folder. Specify the YAML file in it"),
        (["train", "none.yaml"], "none.yaml: does not exist"),
        (["submit", "none.yaml"], "none.yaml: does not exist"),
        (["models", "nosuch"], "NAME: no such architecture (got 'nosuch'; allowed: {models})"),
        (["models", "cnnn"], "NAME: no such architecture (got 'cnnn'; allowed: {models}). Did you mean 'cnn'?"),
        (["status", "nosuch"], "nosuch: no such run in {cwd}/runs, which has no runs. Specify their folder"),
        (["logs", "latest"], "latest: no such run in {cwd}/runs, which has no runs. Specify their folder"),
        (["cancel", "nosuch"], "nosuch: no such run in {cwd}/runs, which has no runs. Specify their folder"),
        (["evaluate", "nosuch"], "nosuch: no such run in {cwd}/runs, which has no runs. Specify their folder"),
        (
            ["results", "nosuch", "--runs", "other"],
            "nosuch: no such run in {cwd}/other, which has no runs. Specify their folder",
        ),
        (["resume", "nosuch"], "nosuch: no such run in {cwd}/runs, which has no runs. Specify their folder"),
        (["rehearse", "none.yaml"], "none.yaml: does not exist"),
        (["status", "\x1b[31mred"], "\\x1b[31mred: no such run in {cwd}/runs, which has no runs. Specify their folder"),
    ],
)
def test_invalid_input_is_one_line(hpc_dl: HpcDl, arguments: list[str], message: str) -> None:
    status, out, err = hpc_dl(*arguments)
    assert (status, out) == (2, "")
    for mark, text in {"{cwd}": str(Path.cwd()), "{models}": ", ".join(models.names())}.items():
        message = message.replace(mark, text)
    assert err.splitlines()[-1].startswith(f"hpc-dl: {message}")
    assert [line for line in err.splitlines() if not line.startswith(("hpc-dl: ", "Loading "))] == []
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "trian: no such command. Did you mean 'train'?"),
        (["nosuch"], "nosuch: no such command. See `hpc-dl --help`"),
        (["data", "mkae"], "mkae: no such command. Did you mean 'make'?"),
        (["\x1b[2J"], "\\x1b[2J: no such command. See `hpc-dl --help`"),
        (["train", "a.yaml", "--runz", "x"], "--runz: no such option of `hpc-dl train`. Did you mean '--runs'?"),
        (["train", "a.yaml", "--epochs"], "--epochs: no such option of `hpc-dl train`. See `hpc-dl train --help`"),
        (["--versoin"], "--versoin: no such option of `hpc-dl`. Did you mean '--version'?"),
        (["train"], "train: missing argument 'CONFIG'. See `hpc-dl train --help`"),
        (["train", "a.yaml", "--runs"], "option '--runs' requires an argument. See `hpc-dl --help`"),
        (["logs", "a", "--rank", "-1"], "logs: invalid value for '--rank': "),
        (["models", "cnn", "mlp"], "models: got unexpected extra argument"),
    ],
)
def test_usage_error_is_one_line(hpc_dl: HpcDl, arguments: list[str], message: str) -> None:
    status, out, err = hpc_dl(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith(f"hpc-dl: {message}")
    assert err.count("\n") == 1


def test_defect_keeps_its_traceback(
    hpc_dl: HpcDl, config: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only errors of the user become messages. Our own must show where they occurred.
    def broken(*arguments: object, **options: object) -> None:
        raise AttributeError("ours")

    monkeypatch.setattr("hpc_dl.cluster.prepare.preflight", broken)
    with pytest.raises(AttributeError, match="ours"):
        hpc_dl("validate", config())


def test_closed_pipe_is_no_failure() -> None:
    command = f"{sys.executable} -c 'from hpc_dl.cli.main import main; main()' models | true; echo ${{PIPESTATUS[0]}}"
    completed = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert (completed.stdout, completed.stderr) == ("0\n", "")


def test_removed_current_folder_is_one_line(tmp_path: Path) -> None:
    # torch would end the process: "Intel oneMKL FATAL ERROR: Cannot load …/libtorch_cpu.so".
    command = f"rmdir {tmp_path}/gone; {sys.executable} -c 'from hpc_dl.cli.main import main; main()' validate x.yaml"
    (tmp_path / "gone").mkdir()
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    completed = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, cwd=tmp_path / "gone", env=environment
    )
    assert (completed.returncode, completed.stdout) == (2, "")
    assert completed.stderr == "hpc-dl: the current folder does not exist anymore. Change to another one with cd\n"
