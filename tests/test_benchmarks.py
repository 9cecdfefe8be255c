from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import reading, reading_ways


def run(benchmark: str, folder: Path) -> dict[str, Any]:
    """The figures of a quick run."""
    figures = folder / "figures.json"
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", "--quick", "--json", str(figures)]
    command += ["--scratch", str(folder)]
    subprocess.run(command, check=True, timeout=280)
    found: dict[str, Any] = json.loads(figures.read_text())
    return found


@pytest.mark.slow
def test_quick_reading_measures_all_ways_and_judges_all_floors(tmp_path: Path) -> None:
    found = run("reading", tmp_path)
    ways = {way for way in reading_ways.ways() if not way.startswith(reading.QUICK_WITHOUT)}
    assert found["failures"] == {}
    for name in "ABC":
        assert ways <= found["rounds"][name].keys()
        assert all(rate > 0 for rates in found["rounds"][name].values() for rate in rates)
        assert all(rate > 0 for rate in found["cold"][name]["bytes_per_s"].values())
        assert found["compression"][name]["gzip"] > 1
    missing = {entry["floor"] for entry in found["floors"] if entry["value"] is None}
    assert all(
        floor.split(" of ")[-1].startswith((*reading.reading_peers.PACKAGES, "tensorstore's")) for floor in missing
    )
    assert all(entry["reached"] in (True, False) for entry in found["floors"] if entry["value"] is not None)
    assert [first["samples"] for first in found["first_batch"]] == [1, 1000, 100_000]


@pytest.mark.slow
def test_quick_growth_measures_each_size_with_each_number_of_ranks(tmp_path: Path) -> None:
    found = run("growth", tmp_path)
    assert [size["samples"] for size in found["sizes"]] == [1_000, 10_000, 100_000]
    for size in found["sizes"]:
        assert list(size["ranks"]) == ["1", "2", "4"]
        assert all(value > 0 for times in size["ranks"].values() for name, value in times.items() if name != "bytes")
    assert all(rate > 0 for layout in found["larger"]["layouts"].values() for rate in layout.values())


def test_a_way_is_compared_with_the_best_of_the_others_in_each_round() -> None:
    rounds = {"own": [10.0, 10.0, 12.0], "one": [1.0, 5.0, 2.0], "other": [2.0, 4.0, 3.0]}
    assert reading.times(rounds, "own", ["one", "other"]) == 4.0  # of 5, 2 and 4
    assert reading.times(rounds, "own", ["absent"]) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_benchmark_of_a_gpu_refuses_without_one() -> None:
    ended = subprocess.run([sys.executable, "-m", "benchmarks.gpu"], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "No GPU" in ended.stderr
