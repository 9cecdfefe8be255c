"""``hpc-dl lr-range``."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hpc_dl.config import yaml
from tests.cli.conftest import HpcDl


@pytest.mark.slow
def test_curve_and_suggestion(hpc_dl: HpcDl, config: Callable[..., Path]) -> None:
    path = config(optimizer={"name": "sgd", "lr": 0.5, "momentum": 0.5}, data={"batch_size": 24})
    answer = hpc_dl("lr-range", path, "--from", "1e-4", "--to", "1e3", "--steps", 70, "--json")
    assert answer.status == 0, answer.err
    result = answer.json
    run = Path(result["dir"])
    assert json.loads((run / "lr-range.json").read_text()) == result
    assert result["rates"][0] == pytest.approx(1e-4) and result["rates"] == sorted(result["rates"])
    assert len(result["rates"]) == len(result["losses"]) > 40
    assert 1e-4 < result["suggested"] <= result["steepest"] <= result["lowest"] < 1e3
    written = yaml.load(run / "config.yaml")
    assert written["name"] == "tiny-lr-range" and written["optimizer"]["momentum"] == 0.5
    assert written["trainer"]["figures"] is False
    rows = [json.loads(line) for line in (run / "journal/attempt-000.jsonl").read_text().splitlines()[1:]]
    assert [row["step"] for row in rows if "train/loss" in row][:3] == [1, 2, 3]


def test_faults(hpc_dl: HpcDl, config: Callable[..., Path], tmp_path: Path) -> None:
    answer = hpc_dl("lr-range", config(), "--from", "1", "--to", "0.1")
    assert answer.status == 2 and "--from: must be above 0 and below --to (got 1.0" in answer.err
    own = config(model={"class": "pytorch_lightning.demos.boring_classes.BoringModel"})
    answer = hpc_dl("lr-range", own)
    assert answer.status == 2 and "model.class: has an optimizer of its own" in answer.err
    assert not (tmp_path / "cwd/runs").exists()
