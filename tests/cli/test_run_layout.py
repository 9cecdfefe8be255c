"""Commands that open a run folder of another layout: one line and exit status 2."""

from pathlib import Path

import pytest

from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.state import write_state
from tests.cli.conftest import HpcDl

REASON = "the run folder was written by another version of hpc_dl (got 'layout 1'; allowed: layout 2)."


@pytest.fixture
def run(hpc_dl: HpcDl) -> RunFolder:
    """A finished run of layout 1, whose config.yaml this version cannot parse."""
    run = RunFolder.create(Path("runs"), "old")
    run.layout.unlink()
    run.config.write_text("name: old\ntask: labeling\n")
    write_state(run, "finished")
    return run


@pytest.mark.parametrize(
    "command",
    [
        ["status", "old"],
        ["results", "old"],
        ["logs", "latest"],
        ["logs", "old", "--follow"],
        ["cancel", "old"],
        ["resume", "old", "--here"],
        ["evaluate", "old"],
        ["predict", "old", "in.h5", "--out", "out.h5"],
        ["export", "old", "--out", "out.onnx"],
    ],
    ids=" ".join,
)
def test_commands_refuse_another_layout(hpc_dl: HpcDl, run: RunFolder, command: list[str]) -> None:
    answer = hpc_dl(*command)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == f"hpc-dl: {run.path}: {REASON} Start a new run with `hpc-dl train` or `hpc-dl submit`\n"


@pytest.mark.parametrize("command", ["status", "results"])
def test_lists_of_all_runs_give_the_reason(hpc_dl: HpcDl, run: RunFolder, command: str) -> None:
    answer = hpc_dl(command)
    assert answer.status == 0
    assert f"{run.name}  unreadable" in answer.out
    assert REASON in answer.out + answer.err
    (facts,) = hpc_dl(command, "--json").json
    assert (facts["run"], facts["state"]) == (run.name, "unreadable")
    assert facts["reason"].startswith(REASON)


def test_initial_weights_from_another_layout_are_refused(hpc_dl: HpcDl, run: RunFolder, config: object) -> None:
    answer = hpc_dl("validate", config(model={"name": "mlp", "width": 8, "init_from": "old"}))  # type: ignore[operator]
    assert answer.status == 2
    assert "model.init_from: is neither a file nor a run (the run folder was written by another version" in answer.err
    assert "Traceback" not in answer.err
