"""``data.stage`` with two nodes of two ranks on a real Slurm."""

from pathlib import Path

import pytest

from hpc_dl.regular_files import read_json
from tests.cluster.conftest import Desk

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

FOUR_RANKS = ("resources.nodes=2", "resources.gpus_per_node=2")


def test_ranks_of_a_node_read_one_copy(slurm_desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    slurm_desk.environment["TMPDIR"] = str(tmp_path / "scratch")
    outcome = slurm_desk.json("submit", "tiny.yaml", *FOUR_RANKS, "data.stage=node", "--site", "dev", "--wait")
    folder = Path(outcome["dir"])
    assert outcome["state"] == "finished"
    logs = [(folder / "logs" / f"rank-{rank}.log").read_text() for rank in range(4)]
    assert all(f"data.stage: reading {tmp_path}/scratch/hpc_dl-" in log for log in logs)
    # Both nodes of the development cluster are this machine.
    assert sum("made in" in log for log in logs) in (1, 2)
    assert [path for own in (tmp_path / "scratch").glob("hpc_dl-*") for path in own.iterdir()] == []
    assert read_json(folder / "timings.json")["stage_s"] > 0
    assert "scratch" not in read_json(folder / "provenance.json")["data"]["file"]
