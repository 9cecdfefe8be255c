"""Quick runs of the benchmarks: they measure everything that they should, and write it as JSON."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import many_runs, page
from benchmarks.reading import floors, peers, readers
from benchmarks.reading.__main__ import NOT_IN_QUICK
from tests.conftest import PROJECT


def quick_results(benchmark: str, folder: Path, *options: str) -> dict[str, Any]:
    """Run a benchmark with small sizes and return its results."""
    file = folder / "results.json"
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", "--quick", "--json", str(file), *options]
    subprocess.run(command, check=True, timeout=280, cwd=PROJECT)
    results: dict[str, Any] = json.loads(file.read_text())
    return results


@pytest.mark.slow
def test_reading_measures_every_reader_and_evaluates_every_floor(tmp_path: Path) -> None:
    results = quick_results("reading", tmp_path, "--scratch", str(tmp_path))
    names = {name for name in readers.own_readers() if not name.startswith(NOT_IN_QUICK)}
    assert results["failures"] == {}
    assert list(results["rounds"]) == list(results["cold"]) == list(results["compression"]) == ["A", "B", "C"]
    for data in "ABC":
        assert names <= results["rounds"][data].keys()
        assert all(len(rates) == 1 and rates[0] > 0 for rates in results["rounds"][data].values())
        assert all(rate > 0 for rate in results["cold"][data]["bytes_per_s"].values())
        assert results["compression"][data]["gzip"] > 1
    # Only what needs a peer that did not run may lack a value.
    without_value = {entry["floor"] for entry in results["floors"] if entry["value"] is None}
    assert all(floor.split(" of ")[-1].startswith((*peers.PEERS, "tensorstore's")) for floor in without_value)
    evaluated = [entry for entry in results["floors"] if entry["value"] is not None]
    assert {"contiguous, of np.memmap", "gzip", "from the disk, of dd"} <= {entry["floor"] for entry in evaluated}
    for entry in evaluated:
        at_most = entry["unit"] in ("MB", "s")
        reached = entry["value"] <= entry["bound"] if at_most else entry["value"] >= entry["bound"]
        assert entry["reached"] is reached, entry
    assert [first["samples"] for first in results["first_batch"]] == [2, 1000, 100_000]


@pytest.mark.slow
def test_growth_measures_each_size_with_each_number_of_ranks(tmp_path: Path) -> None:
    results = quick_results("growth", tmp_path, "--scratch", str(tmp_path))
    assert [size["samples"] for size in results["sizes"]] == [1_000, 10_000, 100_000]
    for size in results["sizes"]:
        assert list(size["ranks"]) == ["1", "2", "4"]
        for figures in size["ranks"].values():
            assert len(figures) == 6
            assert all(value > 0 for name, value in figures.items() if name != "bytes")
    assert list(results["larger"]["layouts"]) == ["contiguous", "zstd"]
    assert all(rate > 0 for layout in results["larger"]["layouts"].values() for rate in layout.values())


@pytest.mark.slow
def test_adaptive_sweeps_compares_each_function(tmp_path: Path) -> None:
    results = quick_results("adaptive_sweeps", tmp_path)
    assert len(results["functions"]) == 2
    assert all(values["tpe"]["median"] > 0 for values in results["functions"].values())


@pytest.mark.slow
def test_many_runs_times_commands_with_and_without_the_index(tmp_path: Path) -> None:
    results = quick_results("many_runs", tmp_path)
    assert list(results["commands"]) == list(many_runs.COMMANDS)
    assert all(0 < later["cpu"] < first["cpu"] for first, later in results["commands"].values())
    (sweep,) = results["sweeps"]
    assert (sweep["members"], sweep["models"], sweep["calls"]) == (20, 2, 1)
    assert sweep["cpu"] > 0 and sweep["files"] > 20 and sweep["bytes"] > 0


@pytest.mark.slow
def test_step_times_every_way_to_train(tmp_path: Path) -> None:
    results = quick_results("step", tmp_path)
    assert list(results["networks"]["small MLP"]) == ["bare", "off", "default", "hpc_dl"]
    for seconds in results["networks"]["small MLP"].values():
        assert list(seconds) == ["cpu", "quiet_cpu", "wall", "quiet_wall"]
        assert all(value > 0 for value in seconds.values())


@pytest.mark.slow
def test_preemption_times_steps_stops_and_starts(tmp_path: Path) -> None:
    results = quick_results("preemption", tmp_path)
    for name in ("long", "short"):
        (measured,) = results[name]
        assert measured["cpu"]["with_s"] > 0 and measured["cpu"]["without_s"] > 0
        assert len(measured["parts"]) == 5 and all(value > 0 for value in measured["parts"].values())
    (stops,) = results["stops"]
    assert stops["stop_s"] > 0
    assert len(stops["start_s"]) == 8 and all(value >= 0 for value in stops["start_s"].values())
    (checkpoint,) = results["checkpoints"]
    assert checkpoint["ours_s"] > 0 and checkpoint["verify_s"] > 0


def test_reader_is_compared_with_the_fastest_other_of_each_round() -> None:
    rounds = {"own": [10.0, 10.0, 12.0], "one": [1.0, 5.0, 2.0], "other": [2.0, 4.0, 3.0]}
    assert floors.speed_ratio(rounds, "own", ["one", "other"]) == 4.0  # of 5, 2 and 4
    assert floors.speed_ratio(rounds, "own", ["absent"]) is None


def test_page_shows_the_recorded_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "benchmarks.md"
    copy.write_text(page.PAGE.read_text())
    monkeypatch.setattr(page, "PAGE", copy)
    page.main()
    assert copy.read_text() == (PROJECT / "docs/reference/benchmarks.md").read_text(), "run `python -m benchmarks.page`"


def test_benchmarks_do_not_import_the_tests() -> None:
    files = sorted((PROJECT / "benchmarks").rglob("*.py"))
    assert len(files) > 30
    importing = [file for file in files if re.search(r"^\s*(from|import) tests\b", file.read_text(), re.MULTILINE)]
    assert importing == []
