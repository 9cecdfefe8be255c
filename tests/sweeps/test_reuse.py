"""Finished runs outside of a sweep take the place of members that equal them."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpc_dl.atomic_files import write_json
from hpc_dl.cli.main import main
from hpc_dl.cluster.prepare import prepare
from hpc_dl.config.experiment import Experiment
from hpc_dl.regular_files import read_json
from hpc_dl.runs.folder import RunFolder
from hpc_dl.runs.snapshot import check
from hpc_dl.runs.state import write_state
from hpc_dl.sweeps.folder import SweepFolder
from tests import experiments
from tests.cli.conftest import HpcDl

Config = Callable[..., Path]
SWEEP: dict[str, Any] = {"parameters": {"optimizer.lr": {"values": [0.1, 0.2]}}}


def finished_run(file: Path, lr: float, **sections: Any) -> RunFolder:
    """A run with this learning rate, as if it had been trained."""
    raw = experiments.raw(file, **{"optimizer": {"name": "sgd", "lr": lr}, **sections}) | {"name": "single"}
    run = prepare(
        Experiment.from_dict(raw), runs=Path("runs"), data_dir=None, command=["hpc-dl"], say=lambda line: None,
        try_batches=False,
    )  # fmt: skip
    write_json(
        run.result, {"run": run.name, "state": "finished", "metrics": {"val/loss": lr}, "steps": 4, "seconds": 1}
    )
    (run.checkpoints / "step-4.ckpt").write_bytes(b"weights")
    run.last_checkpoint.symlink_to("step-4.ckpt")
    write_state(run, "finished", step=4)
    return run


@pytest.mark.slow  # ten commands
def test_equal_run_becomes_a_member_that_outlives_it(hpc_dl: HpcDl, config: Config, image_file: Path) -> None:
    optimizer = {"name": "sgd", "lr": 0.5}
    run = finished_run(image_file, 0.2, resources={"time": "07:00:00"}, trainer={"max_epochs": 2})
    finished_run(image_file, 0.3, trainer={"max_epochs": 2})
    finished_run(image_file, 0.1, trainer={"max_epochs": 3})
    path = config(sweep=SWEEP, optimizer=optimizer, trainer={"max_epochs": 2})
    before = hpc_dl("sweep", path, "--dry-run")
    assert f"1 of the 2 new members equal finished runs outside of the sweep ({run.name}); --reuse takes" in before.err
    only = "sweep.parameters={optimizer.lr: {values: [0.2]}}"
    reused = hpc_dl("sweep", path, only, "--reuse", "--json").json
    assert (list(reused["reused"].values()), reused["submissions"]) == ([str(run.path)], [])
    sweep = SweepFolder(Path("runs/tiny-sweep").absolute())
    (member,) = sweep.runs()
    assert read_json(sweep.member_list)[member.name]["reused"] == run.name
    again = hpc_dl("sweep", path, only, "--json").json
    assert (again["new"], again["existing"]) == ([], [member.name])

    assert hpc_dl("remove", run.name, "--yes").status == 0
    shutil.rmtree("runs/.code")
    check(member)
    assert member.last_checkpoint.read_bytes() == b"weights"
    assert hpc_dl("best", sweep.name, "--json").json["ranking"][0]["runs"] == [member.name]
    assert [row["run"] for row in hpc_dl("results", sweep.name, "--json").json] == [member.name]
    assert hpc_dl("remove", sweep.name, "--yes").status == 0 and not sweep.path.exists()


@pytest.mark.slow  # prepares a run and a sweep
def test_terminal_is_asked(config: Config, image_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = finished_run(image_file, 0.1)
    path = config(sweep={"parameters": {"optimizer.lr": {"values": [0.1]}}}, optimizer={"name": "sgd", "lr": 0.5})
    keyboard, terminal = os.openpty()
    os.write(keyboard, b"y\n")
    with (
        os.fdopen(keyboard, "rb", buffering=0) as screen,
        os.fdopen(terminal, "r") as typed,
        open(os.dup(terminal), "w", buffering=1) as printed,
    ):
        monkeypatch.setattr(sys, "stdin", typed)
        monkeypatch.setattr(sys, "stderr", printed)
        monkeypatch.setattr(sys, "argv", ["hpc-dl", "sweep", str(path)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        shown = screen.read(1 << 16).decode()
    assert f"finished runs outside of the sweep ({run.name}). Take their results instead of training" in shown
    (facts,) = read_json(SweepFolder(Path("runs/tiny-sweep")).member_list).values()
    assert facts["reused"] == run.name


@pytest.mark.slow  # plans the sweep four times
def test_run_that_is_not_the_same_is_not_reused(hpc_dl: HpcDl, config: Config, image_file: Path) -> None:
    path = config(sweep=SWEEP, optimizer={"name": "sgd", "lr": 0.5})

    def is_offered() -> bool:
        return "--reuse takes" in hpc_dl("sweep", path, "--dry-run").err

    run = finished_run(image_file, 0.1)
    assert is_offered()
    facts = read_json(run.provenance)
    write_json(run.provenance, facts | {"data": facts["data"] | {"checksum": "0"}})
    assert not is_offered(), "its data are others"
    write_json(run.provenance, facts)
    (run.code / "own_model.py").touch()
    assert not is_offered(), "it had code of the user"
    (run.code / "own_model.py").unlink()
    write_state(run, "stopped", step=4)
    assert not is_offered(), "it has not finished"


@pytest.mark.parametrize("options", [("--force",), ("sweep.method=random", "sweep.trials=2", "--force")])
def test_reuse_contradicts_force(hpc_dl: HpcDl, config: Config, options: tuple[str, ...]) -> None:
    refused = hpc_dl("sweep", config(sweep=SWEEP), "--reuse", *options)
    assert refused.status == 2 and "hpc-dl: --reuse: reuses no runs here" in refused.err, refused.err
    assert not Path("runs").exists()
