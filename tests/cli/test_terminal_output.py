"""What files contain cannot control the terminal: it is shown escaped."""

import ast
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.data.files.format import Samples, write
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl
from tests.conftest import PROJECT

CLEAR = "\x1b[2J\x9b1m\u202e"  # clears a terminal; C1 control; reverses the text
ESCAPED = "\\x1b[2J\\x9b1m\\u202e"


@pytest.fixture
def run(hpc_dl: HpcDl) -> RunFolder:
    """A run whose name, reason and log contain control characters."""
    run = RunFolder.create(Path("runs"), f"bad{CLEAR}")
    run.config.write_text("name: bad\n")
    write_state(run, "failed", reason=f"ValueError: {CLEAR}", rank=0)
    run.log(0).write_text(f"tab\there\n{CLEAR}\n 10 %\r 20 %\r\nlast {CLEAR}")
    return run


def is_harmless(text: str) -> bool:
    return all(char.isprintable() or char in "\n\t" for char in text)


@pytest.mark.parametrize("command", [["status"], ["status", "latest"], ["results"], ["cancel", "latest"]], ids=" ".join)
def test_name_and_reason_of_a_run(hpc_dl: HpcDl, run: RunFolder, command: list[str]) -> None:
    answer = hpc_dl(*command)
    assert answer.status == 0 and is_harmless(answer.out + answer.err)
    assert ESCAPED in answer.out + answer.err


def test_json_keeps_the_characters(hpc_dl: HpcDl, run: RunFolder) -> None:
    answer = hpc_dl("status", "--json")
    assert is_harmless(answer.out) and answer.json[0]["reason"] == f"ValueError: {CLEAR}"


@pytest.mark.parametrize("follow", [[], ["--follow"]], ids=["once", "follow"])
def test_log(hpc_dl: HpcDl, run: RunFolder, follow: list[str]) -> None:
    answer = hpc_dl("logs", "latest", *follow)
    assert answer.status == 0 and is_harmless(answer.out + answer.err)
    assert answer.out == f"tab\there\n{ESCAPED}\n 20 %\nlast {ESCAPED}\n"
    assert (f"ValueError: {ESCAPED}" in answer.err) == bool(follow)


def test_metric_names_of_a_result(hpc_dl: HpcDl, run: RunFolder) -> None:
    write_json(run.result, {"run": run.name, "metrics": {f"test/{CLEAR}": 0.5}})
    write_state(run, "finished")
    for command in (["results"], ["results", "latest"]):
        answer = hpc_dl(*command)
        assert answer.status == 0 and is_harmless(answer.out) and ESCAPED in answer.out


@pytest.mark.slow
def test_attributes_and_class_names_of_a_data_file(hpc_dl: HpcDl, tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    samples = Samples(np.zeros((4, 2), np.float32), np.arange(4) % 2)
    about = {"source": CLEAR, "license": CLEAR, "input_units": CLEAR, "class_names": [f"a{CLEAR}", "b"]}
    write(path, {"train": samples}, task="classification", **about)  # type: ignore[arg-type]
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file[CLEAR] = np.zeros(3)
    for command in (["inspect", path], ["inspect", tmp_path / "foreign.h5"], ["verify", tmp_path / "foreign.h5"]):
        answer = hpc_dl("data", *command)
        assert is_harmless(answer.out + answer.err) and ESCAPED in answer.out + answer.err
    assert f"a{CLEAR}" in json.loads(hpc_dl("data", "inspect", path, "--json").out)["spec"]["class_names"]


def test_shell_completion_leaves_out_unprintable_names(hpc_dl: HpcDl, run: RunFolder) -> None:
    import typer

    from hpc_dl.cli.completion import complete_runs
    from hpc_dl.cli.main import app

    context = typer.Context(typer.main.get_command(app))
    assert complete_runs(context, "") == ["latest"]


@pytest.mark.parametrize("path", sorted((PROJECT / "hpc_dl" / "cli").glob("*.py")), ids=lambda path: path.name)
def test_commands_print_with_show_or_say(path: Path) -> None:
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    prints = [ast.unparse(call) for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
    # The version is ours. The batch script is printed unchanged, so that it can be saved.
    allowed = {"main.py": ["print(f'hpc_dl {hpc_dl.__version__}')"], "submit.py": ["print(text, end='')"]}
    assert path.name == "output.py" or prints == allowed.get(path.name, [])
